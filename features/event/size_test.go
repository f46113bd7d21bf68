package event_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"relish/features/event"
	"relish/ranker"
)

// Size is what decoded events take in memory, within a factor of two.
func TestSizeAllocations(t *testing.T) {
	item := `{"type":"item","id":"%08d","item":"i%08d",`
	var fields, shown []string
	for i := range 100 {
		fields = append(fields, fmt.Sprintf(`"field-%d":"a value"`, i))
		shown = append(shown, fmt.Sprintf(`"item-%08d"`, i))
	}
	for name, format := range map[string]string{
		"text":   item + `"title":"a title","text":"` + strings.Repeat("text ", 1000) + `"}`,
		"tags":   item + `"tags":["` + strings.Repeat(`a","b`, 50) + `"]}`,
		"fields": item + `"fields":{` + strings.Join(fields, ",") + `}}`,
		"shown": `{"type":"impression","id":"%08d","user":"u%08d","items":[` +
			strings.Join(shown, ",") + `]}`,
		"click": `{"type":"interaction","id":"%08d","user":"u%08d","item":"i","action":"click"}`,
	} {
		const n = 500
		bodies := make([][]byte, n)
		for i := range bodies {
			bodies[i] = fmt.Appendf(nil, format, i, i)
		}
		before := heap()
		events := make([]ranker.Event, n)
		for i, b := range bodies {
			var err *ranker.EventError
			if events[i], err = event.Decode(b); err != nil {
				t.Fatal(err)
			}
		}
		size := 0
		for i := range events {
			size += event.Size(&events[i])
		}
		if used := heap() - before; size < used/2 || size > 2*used {
			t.Errorf("%s: the size is %d, and %d bytes are used", name, size, used)
		}
		runtime.KeepAlive(events)
		runtime.KeepAlive(bodies)
	}
}

// heap returns the bytes of the live objects.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
