"""What a bundle's files say, each checked before anything is made of it."""
