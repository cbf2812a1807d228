package translog

import (
	"testing"
)

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{200, 2000, 2048, 8192} {
		b.Run(sizeName(n), func(b *testing.B) {
			cfg := testConfig(b.TempDir())
			cfg.BatchAge = BatchAgeDefault
			l := mustOpen(b, cfg)
			leaves := testLeaves(0, n)
			for b.Loop() {
				if _, err := l.Append(b.Context(), leaves); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
			mustClose(b, l)
		})
	}
}

func sizeName(n int) string {
	return map[int]string{200: "200", 2000: "2000", 2048: "2048", 8192: "8192"}[n]
}

func BenchmarkProve(b *testing.B) {
	l := mustOpen(b, testConfig(b.TempDir()))
	mustAppend(b, l, 50_000)
	cp, err := l.WaitPublished(b.Context(), 50_000)
	if err != nil {
		b.Fatal(err)
	}
	i := uint64(0)
	for b.Loop() {
		if _, err := l.Prove(b.Context(), i%cp.Size, cp); err != nil {
			b.Fatal(err)
		}
		i += 7919
	}
	mustClose(b, l)
}
