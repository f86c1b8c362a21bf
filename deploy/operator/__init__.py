"""What an operator's jobs do: secrets, certificates, databases, users and subscribers."""
