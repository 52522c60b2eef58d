"""What an outsider tries, where no other test tries it yet."""
