"""Raw data sets in, logs out: one folder a data set."""
