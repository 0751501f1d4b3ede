"""Runs only inside the sealed decoder process: the one place where libav touches a stranger's file."""
