"""The tools, one package per server and one file per tool; a new tool is a new file that ends in `register(...)`."""
