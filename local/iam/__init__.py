"""What IAM answers about roles beside moto, which keeps them."""
