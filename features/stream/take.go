package stream

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"relish/features/event"
)

// take makes the messages' events durable and acknowledges all of them. On an error none is acknowledged.
func (c *Consumer) take(ctx context.Context, messages []redis.XMessage) error {
	if len(messages) == 0 {
		return nil
	}
	ids := make([]string, len(messages))
	var events []event.Event
	var from []string // aligned with events
	refused := refusals{c: c}
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
	refused.tell()
	return nil
}

// maxEvent bounds one event's JSON; it is what POST /feedback takes.
const maxEvent = event.MaxLine

// decode returns a message's event, or why it has none.
func decode(m redis.XMessage) (event.Event, *event.Error) {
	if len(m.Values) == 0 {
		return event.Event{}, &event.Error{Code: "trimmed", Message: "the message was trimmed from the stream before it was read; let producers keep more (XADD MAXLEN)"}
	}
	raw, ok := m.Values[Field].(string)
	switch {
	case !ok:
		return event.Event{}, &event.Error{Code: "missing_field", Pointer: "/" + Field, Message: "the message must have a field " + Field + " with the event as JSON"}
	case len(raw) > maxEvent:
		return event.Event{}, &event.Error{Code: "too_large", Message: fmt.Sprintf("the event has more than %d bytes", maxEvent)}
	}
	e, err := event.Decode([]byte(raw))
	if err == nil {
		err = e.Validate()
	}
	return e, err
}

// refusals are a batch's messages that are no events. They are told when they are acknowledged, so that each is told
// once.
type refusals struct {
	c     *Consumer
	ids   []string
	whys  []*event.Error
	total int64
}

func (r *refusals) add(id string, why *event.Error) {
	if r.total++; r.total <= named {
		r.ids, r.whys = append(r.ids, id), append(r.whys, why)
	}
}

func (r *refusals) tell() {
	r.c.rejected.Add(r.total)
	for i, id := range r.ids {
		r.c.opt.Log.Warn("a message is no event", "stream", r.c.opt.Stream, "message", id, "code", r.whys[i].Code, "pointer", r.whys[i].Pointer, "reason", r.whys[i].Message)
	}
	if more := r.total - int64(len(r.ids)); more > 0 {
		r.c.opt.Log.Warn("further messages of this batch are no events", "stream", r.c.opt.Stream, "messages", more)
	}
}
