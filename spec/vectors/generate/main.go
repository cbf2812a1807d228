// Command generate writes spec/vectors anew, from fixed seeds.
//
//	go run ./spec/vectors/generate [-out spec/vectors]
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	out := flag.String("out", filepath.Join("spec", "vectors"), "the `folder` to write to")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// run replaces the files of the vectors below out. What it no longer makes it
// removes, so that no stale case stays.
func run(out string) error {
	if _, err := os.Stat(filepath.Join(out, "vectors.go")); err != nil {
		return fmt.Errorf("%s is not the folder of the vectors: %w", out, err)
	}
	for _, folder := range folders {
		if err := os.RemoveAll(filepath.Join(out, folder)); err != nil {
			return fmt.Errorf("clear %s: %w", folder, err)
		}
	}
	for name, b := range Files() {
		to := filepath.Join(out, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
