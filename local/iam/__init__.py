"""IAM answers that moto lacks, about the roles that moto keeps."""
