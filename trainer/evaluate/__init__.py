"""How good are a checkpoint's pictures?"""
