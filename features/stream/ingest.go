package stream

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"relish/features/event"
	"relish/ranker"
)

// ingest makes the events of the messages durable and acknowledges all messages. On an error it
// acknowledges none.
func (c *Consumer) ingest(ctx context.Context, messages []redis.XMessage) error {
	if len(messages) == 0 {
		return nil
	}
	ids := make([]string, len(messages))
	var events []ranker.Event
	var eventIDs []string // aligned with events: ids of their messages
	rejected := rejections{c: c}
	for i, m := range messages {
		ids[i] = m.ID
		e, err := decode(m)
		e.Source = "stream:" + c.opt.Stream
		if err != nil {
			rejected.add(m.ID, err)
			continue
		}
		events, eventIDs = append(events, e), append(eventIDs, m.ID)
	}
	var accepted, duplicates int64
	if len(events) > 0 {
		outcomes, err := c.store.Append(ctx, events)
		if err != nil {
			return fmt.Errorf("write the events: %w", err)
		}
		for i, o := range outcomes {
			switch {
			case o.Err != nil:
				rejected.add(eventIDs[i], o.Err)
			case o.Duplicate:
				duplicates++
			default:
				accepted++
			}
		}
	}
	c.accepted.Add(accepted)
	if err := c.rdb.XAck(ctx, c.opt.Stream, c.opt.Group, ids...).Err(); err != nil {
		// The messages come again, as duplicates.
		return fmt.Errorf("acknowledge the messages: %w", err)
	}
	c.duplicates.Add(duplicates)
	rejected.report()
	return nil
}

// maxEventBytes bounds one event's JSON, as POST /feedback does.
const maxEventBytes = event.MaxLine

// decode returns a message's event, or the reason why it holds none.
func decode(m redis.XMessage) (ranker.Event, *ranker.EventError) {
	if len(m.Values) == 0 {
		return ranker.Event{}, &ranker.EventError{
			Code: "trimmed",
			Message: "the message was trimmed from the stream before it was read: " +
				"have the producers keep more messages (XADD MAXLEN)",
		}
	}
	raw, ok := m.Values[EventField].(string)
	switch {
	case !ok:
		return ranker.Event{}, &ranker.EventError{
			Code: "missing_field", Pointer: "/" + EventField,
			Message: "the message needs a field " + EventField + " with the event as JSON",
		}
	case len(raw) > maxEventBytes:
		return ranker.Event{}, &ranker.EventError{
			Code: "too_large",
			Message: fmt.Sprintf("the event has %d bytes, the limit is %d",
				len(raw), maxEventBytes),
		}
	}
	e, err := event.Decode([]byte(raw))
	if err == nil {
		err = event.Validate(&e)
	}
	return e, err
}

// rejections are the messages of a batch that hold no valid event. They are reported after they are
// acknowledged, so that each is reported once.
type rejections struct {
	c       *Consumer
	ids     []string
	reasons []*ranker.EventError
	total   int64
}

func (r *rejections) add(id string, reason *ranker.EventError) {
	if r.total++; r.total <= maxLoggedRejections {
		r.ids, r.reasons = append(r.ids, id), append(r.reasons, reason)
	}
}

func (r *rejections) report() {
	r.c.rejected.Add(r.total)
	log := r.c.opt.Log.With("stream", r.c.opt.Stream)
	for i, id := range r.ids {
		reason := r.reasons[i]
		log.Warn("rejected a message that holds no valid event", "message", id,
			"code", reason.Code, "pointer", reason.Pointer, "reason", reason.Message)
	}
	if more := r.total - int64(len(r.ids)); more > 0 {
		log.Warn("rejected more messages of the same batch", "messages", more)
	}
}
