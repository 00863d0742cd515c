"""What crosses the wire: requests, answers, errors and lists, in the shapes of botocore's models."""
