"""`gradviz compare`: did gradients or receptive fields change?"""
