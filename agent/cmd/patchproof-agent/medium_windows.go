package main

import "os"

func openMedium(path string) (*os.File, error) { return os.Open(path) }
