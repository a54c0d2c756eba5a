// Walks a directory by fs.WalkDir and prints each path with its size and mode.
package main

import (
	"fmt"
	"io/fs"
	"os"
)

func main() {
	root := os.Args[1]
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if path == "." {
			path = ""
		}
		fmt.Printf("%s %d %o\n", path, info.Size(), info.Mode().Perm())
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
