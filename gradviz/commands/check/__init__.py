"""`gradviz check`: is the gradient right, and how far?"""
