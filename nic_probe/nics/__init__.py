"""The RDMA NICs of a host, their ports and GIDs, and whether one can be used."""
