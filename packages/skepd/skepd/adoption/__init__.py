"""Taking over guests of other managers: their texts read, and what Skep makes of them. Pure, like the model."""
