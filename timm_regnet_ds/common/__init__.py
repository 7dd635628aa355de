"""What every room uses: checks of arguments, texts, memory, and one formula of the papers in NumPy."""
