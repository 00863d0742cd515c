"""The wire protocols: requests, answers, errors and lists, in the shapes of botocore's models."""
