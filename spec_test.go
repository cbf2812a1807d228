package sealpost_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A comment that cites "bundle 4.3" sends its reader to a section that exists.
func TestCitedSectionsExist(t *testing.T) {
	cite := regexp.MustCompile(`\b(commitment|receipt|leaf|bundle|policy) ([0-9])(\.[0-9]+)?\b`)
	pages := map[string]string{}
	var files []string
	for _, folder := range []string{".", "evidence", "client", "api"} {
		found, _ := filepath.Glob(filepath.Join(folder, "*.go"))
		files = append(files, found...)
	}
	cited := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(string(b), "\n") {
			_, comment, ok := strings.Cut(line, "//")
			if !ok {
				continue
			}
			for _, m := range cite.FindAllStringSubmatch(comment, -1) {
				page, section := m[1], m[2]+m[3]
				if pages[page] == "" {
					b, err := os.ReadFile(filepath.Join("spec", page+".md"))
					if err != nil {
						t.Fatal(err)
					}
					pages[page] = string(b)
				}
				cited++
				want := fmt.Sprintf("\n%s ", section)
				if m[3] == "" {
					want = fmt.Sprintf("\n## %s. ", section)
				}
				if !strings.Contains(pages[page], want) {
					t.Errorf("%s cites %s %s, and spec/%s.md has no such section", file, page, section, page)
				}
			}
		}
	}
	if cited < 20 {
		t.Errorf("%d citations found: this test sees too little", cited)
	}
}
