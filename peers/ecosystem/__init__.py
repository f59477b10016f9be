"""What others have made and Tapestry begins from: checkpoint folders with their tokenizers, tables of text."""
