"""The structural rule: which inputs an output can depend on."""
