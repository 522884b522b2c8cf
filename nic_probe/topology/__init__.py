"""How far each GPU is from each NIC, and what Mooncake and SGLang make of it. Pure: values in, values out."""
