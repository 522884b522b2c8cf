"""What benchmarks of LLM servers wrote, as one table: files' bytes in, results and findings out.

Pure: reads no file and prints nothing. `cli_results` is the command around it.
"""
