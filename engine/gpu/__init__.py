"""The engine on a GPU, NVIDIA's or AMD's: the same layers, with attention, batches and memory of a GPU's own."""
