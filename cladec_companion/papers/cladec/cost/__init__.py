"""What does it cost to train?"""
