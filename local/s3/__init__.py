"""S3 over files."""
