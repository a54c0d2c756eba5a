"""HTTP filters: which requests of a stolen connection are taken. Pure code, without input or output."""
