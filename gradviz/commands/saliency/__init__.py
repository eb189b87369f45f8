"""`gradviz saliency`: gradients of images, drawn and written."""
