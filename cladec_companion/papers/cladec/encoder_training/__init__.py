"""What does the training of the encoder change? Section 6.3, Table 6."""
