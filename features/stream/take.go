package stream

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"relish/features/event"
	"relish/ranker"
)

// ingest makes the messages' events durable and acknowledges all of them. On an error none is acknowledged.
func (c *Consumer) ingest(ctx context.Context, messages []redis.XMessage) error {
	if len(messages) == 0 {
		return nil
	}
	ids := make([]string, len(messages))
	var events []ranker.Event
	var from []string // aligned with events
	refused := rejections{c: c}
	for i, m := range messages {
		ids[i] = m.ID
		e, err := decode(m)
		if err != nil {
			refused.add(m.ID, err)
			continue
		}
		events, from = append(events, e), append(from, m.ID)
	}
	var accepted, duplicates int64
	if len(events) > 0 {
		outcomes, err := c.store.Append(ctx, events)
		if err != nil {
			return fmt.Errorf("writing events: %w", err)
		}
		for i, o := range outcomes {
			switch {
			case o.Err != nil:
				refused.add(from[i], o.Err)
			case o.Duplicate:
				duplicates++
			default:
				accepted++
			}
		}
	}
	c.accepted.Add(accepted)
	if err := c.rdb.XAck(ctx, c.opt.Stream, c.opt.Group, ids...).Err(); err != nil {
		return fmt.Errorf("acknowledging messages: %w", err) // they come again, as duplicates
	}
	c.duplicates.Add(duplicates)
	refused.report()
	return nil
}

// maxEventBytes bounds one event's JSON; it is what POST /feedback takes.
const maxEventBytes = event.MaxLine

// decode returns a message's event, or why it has none.
func decode(m redis.XMessage) (ranker.Event, *ranker.EventError) {
	if len(m.Values) == 0 {
		return ranker.Event{}, &ranker.EventError{Code: "trimmed", Message: "the message was trimmed from the stream before it was read; let producers keep more (XADD MAXLEN)"}
	}
	raw, ok := m.Values[EventField].(string)
	switch {
	case !ok:
		return ranker.Event{}, &ranker.EventError{Code: "missing_field", Pointer: "/" + EventField, Message: "the message must have a field " + EventField + " with the event as JSON"}
	case len(raw) > maxEventBytes:
		return ranker.Event{}, &ranker.EventError{Code: "too_large", Message: fmt.Sprintf("the event has more than %d bytes", maxEventBytes)}
	}
	e, err := event.Decode([]byte(raw))
	if err == nil {
		err = event.Validate(&e)
	}
	return e, err
}

// rejections are a batch's messages that are no events. They are told when they are acknowledged, so that each is told
// once.
type rejections struct {
	c       *Consumer
	ids     []string
	reasons []*ranker.EventError
	total   int64
}

func (r *rejections) add(id string, why *ranker.EventError) {
	if r.total++; r.total <= maxLoggedRejections {
		r.ids, r.reasons = append(r.ids, id), append(r.reasons, why)
	}
}

func (r *rejections) report() {
	r.c.rejected.Add(r.total)
	for i, id := range r.ids {
		r.c.opt.Log.Warn("a message is no event", "stream", r.c.opt.Stream, "message", id, "code", r.reasons[i].Code, "pointer", r.reasons[i].Pointer, "reason", r.reasons[i].Message)
	}
	if more := r.total - int64(len(r.ids)); more > 0 {
		r.c.opt.Log.Warn("further messages of this batch are no events", "stream", r.c.opt.Stream, "messages", more)
	}
}
