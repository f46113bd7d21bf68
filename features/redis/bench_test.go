package redis_test

import (
	"fmt"
	"testing"

	"relish/features/redis"
	"relish/features/storetest"
	"relish/internal/redistest"
)

func BenchmarkRead(b *testing.B) {
	s := open(b, redistest.Start(b).URL(), b.TempDir(), storetest.Config(), redis.Options{})
	ids := addItems(b, s, 1000)
	for _, n := range []int{100, 500, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			q := query(b, "u", ids[:n])
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Read(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
