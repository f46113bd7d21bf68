package onnx

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"relish/embeddings"
	"relish/embeddings/tokenizer"
)

// EncoderOptions say where and how an encoder runs. The zero value works.
type EncoderOptions struct {
	Device      string // auto (default), cpu, cuda or cuda:N
	MaxTokens   int    // longest text, special tokens included; 0 = 128
	Sessions    int    // 0 = one per core on a CPU, one on a GPU
	GPUMemLimit int64  // bytes, 0 = no limit
	// ArenaExtendStrategy is CUDA's arena_extend_strategy; "" = kSameAsRequested, which allocates
	// no more than needed.
	ArenaExtendStrategy string
}

// Encoder is a loaded text encoder: an embeddings.Model on ONNX Runtime. It is safe for concurrent
// use; runs beyond the number of sessions wait for a session. The owner closes it.
//
// On a CPU, the vector of a text is a function of the text: it has the same bits alone, in any
// batch and in any session. So each text is padded to the bucket of its own length, a run has one
// thread, and a model whose vectors would depend on the batch runs on one text at a time.
type Encoder struct {
	tokenizer *tokenizer.Tokenizer
	files     *EncoderFiles
	digest    string
	dim       int
	// inputs are those of input_ids, attention_mask and token_type_ids that the model has, in its
	// order.
	inputs         []string
	output         string
	pooled         bool // the output has one vector per text, not one per token
	device         device
	fallbackReason string
	maxTokens      int
	batchTokens    int
	oneByOne       bool // each run of the model has one text

	idleSessions chan *session
	allSessions  []*session
	closed       chan struct{}
	closeOnce    sync.Once
}

var _ embeddings.Model = (*Encoder)(nil)

// LoadEncoder loads the encoder in dir. With the devices auto and cuda it falls back to the CPU if
// there is no usable GPU; FallbackReason says why. The caller closes the encoder.
func (rt *Runtime) LoadEncoder(dir string, opt EncoderOptions) (*Encoder, error) {
	f, err := ReadEncoderFiles(dir, opt.MaxTokens)
	if err != nil {
		return nil, err
	}
	e, err := rt.NewEncoder(f, opt)
	if err != nil {
		return nil, fmt.Errorf("encoder %s: %w", dir, err)
	}
	return e, nil
}

// NewEncoder loads an encoder from its files, as LoadEncoder does. The files' MaxTokens apply, not
// those of the options. The caller closes the encoder.
func (rt *Runtime) NewEncoder(f *EncoderFiles, opt EncoderOptions) (*Encoder, error) {
	d, err := parseDevice(opt.Device)
	if err != nil {
		return nil, err
	}
	if f.MaxTokens < 8 || f.MaxTokens > 8192 {
		return nil, fmt.Errorf("onnx: the longest text is %d tokens; it must be 8 to 8192",
			f.MaxTokens)
	}
	e := &Encoder{files: f, digest: f.Digest(), maxTokens: f.MaxTokens, closed: make(chan struct{})}
	if e.tokenizer, err = tokenizer.Load(f.Tokenizer); err != nil {
		return nil, err
	}
	if err := e.inspectGraph(); err != nil {
		return nil, fmt.Errorf("model.onnx: %w", err)
	}
	if err := e.openDevice(rt, d, &opt); err != nil {
		return nil, fmt.Errorf("model.onnx: %w", err)
	}
	// A model's own pooling is followed by products with one row per text, for which a batch of one
	// may take another kernel.
	e.oneByOne = e.pooled && !e.device.cuda || f.QuantizesBatches()
	e.batchTokens = e.chooseBatchTokens()
	return e, nil
}

// inspectGraph finds the model's inputs and its output.
func (e *Encoder) inspectGraph() error {
	ins, outs, err := ort.GetInputOutputInfoWithONNXData(e.files.Model)
	if err != nil {
		return err
	}
	for _, in := range ins {
		if !slices.Contains([]string{inputIDs, inputMask, inputTypes}, in.Name) {
			return fmt.Errorf("the model has the input %q; an encoder has %s, %s and optionally %s",
				in.Name, inputIDs, inputMask, inputTypes)
		}
		e.inputs = append(e.inputs, in.Name)
	}
	if !slices.Contains(e.inputs, inputIDs) || !slices.Contains(e.inputs, inputMask) {
		return fmt.Errorf("the model lacks the inputs %s and %s", inputIDs, inputMask)
	}
	for _, out := range outs {
		rank, last := len(out.Dimensions), int64(0)
		if rank > 0 {
			last = out.Dimensions[rank-1]
		}
		if out.DataType != ort.TensorElementDataTypeFloat || last < 1 || rank != 2 && rank != 3 {
			continue
		}
		if e.output == "" || out.Name == "sentence_embedding" {
			e.output, e.dim, e.pooled = out.Name, int(last), rank == 2
		}
	}
	if e.output == "" {
		return errors.New("the model has no float output of token states or sentence vectors")
	}
	return nil
}

// openDevice opens the sessions, on the GPU if that works.
func (e *Encoder) openDevice(rt *Runtime, d device, opt *EncoderOptions) error {
	if d.cuda {
		err := rt.checkCUDA()
		if err == nil {
			err = e.openSessions(d, opt)
		}
		if err == nil {
			return nil
		}
		if d.explicit {
			e.fallbackReason = "no GPU: " + strings.TrimSpace(err.Error())
		}
	}
	return e.openSessions(device{}, opt)
}

func (e *Encoder) openSessions(d device, opt *EncoderOptions) error {
	n := opt.Sessions
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
		if d.cuda {
			n = 1
		}
	}
	e.device = d
	e.idleSessions = make(chan *session, n)
	for range n {
		s, err := newSession(e, d, opt)
		if err != nil {
			e.destroySessions()
			return err
		}
		e.allSessions = append(e.allSessions, s)
		e.idleSessions <- s
	}
	return nil
}

// Tokenize implements embeddings.Model.
func (e *Encoder) Tokenize(dst []int32, text string) []int32 {
	if strings.TrimSpace(text) == "" {
		return dst
	}
	if e.files.Prompt != "" {
		text = e.files.Prompt + text
	}
	start := len(dst)
	dst = e.tokenizer.Encode(dst, text, e.maxTokens)
	if len(dst)-start <= 2 {
		return dst[:start] // only the two special tokens
	}
	return dst
}

// Run implements embeddings.Model. After Close it returns ErrClosed.
func (e *Encoder) Run(ctx context.Context, batch [][]int32, out [][]float32) error {
	if len(batch) == 0 {
		return nil
	}
	for i, ids := range batch {
		if len(ids) == 0 || len(ids) > e.maxTokens {
			return fmt.Errorf("onnx: row %d has %d tokens; a row has 1 to %d",
				i, len(ids), e.maxTokens)
		}
	}
	select {
	case s := <-e.idleSessions:
		defer func() { e.idleSessions <- s }()
		return s.run(ctx, batch, out)
	case <-e.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// encodeBatchSize is how many texts Encode runs at once.
const encodeBatchSize = 16

// Encode encodes any number of tokenized texts and returns their unit vectors, nil for a text
// without tokens. It batches texts of one length bucket, so that little is padded. It is for
// background work; package embeddings serves requests.
func (e *Encoder) Encode(ctx context.Context, texts [][]int32) ([][]float32, error) {
	var order []int
	for i := range texts {
		if len(texts[i]) > 0 {
			order = append(order, i)
		}
	}
	out := make([][]float32, len(texts))
	for indexes := range e.byBucket(texts, order, encodeBatchSize) {
		var batch [][]int32
		var vectors [][]float32
		for _, i := range indexes {
			out[i] = make([]float32, e.dim)
			batch, vectors = append(batch, texts[i]), append(vectors, out[i])
		}
		if err := e.Run(ctx, batch, vectors); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// byBucket sorts order, which has indexes of texts, by length. It yields the parts of it whose
// texts have one bucket, each with at most limit texts.
func (e *Encoder) byBucket(texts [][]int32, order []int, limit int) iter.Seq[[]int] {
	slices.SortStableFunc(order, func(a, b int) int { return len(texts[a]) - len(texts[b]) })
	return func(yield func([]int) bool) {
		for left := order; len(left) > 0; {
			bucket, n := e.Bucket(len(texts[left[0]])), 1
			for n < min(limit, len(left)) && e.Bucket(len(texts[left[n]])) == bucket {
				n++
			}
			if !yield(left[:n]) {
				return
			}
			left = left[n:]
		}
	}
}

// lengthBuckets are the lengths that texts are padded to. The steps are small where most titles
// are, so that little is padded.
var lengthBuckets = []int{8, 12, 16, 24, 32, 48, 64, 96, 128}

// Bucket implements embeddings.Model.
func (e *Encoder) Bucket(n int) int {
	for _, b := range lengthBuckets {
		if n <= b {
			return min(b, e.maxTokens)
		}
	}
	return min((n+63)/64*64, e.maxTokens)
}

// Dim implements embeddings.Model.
func (e *Encoder) Dim() int { return e.dim }

// MaxTokens implements embeddings.Model.
func (e *Encoder) MaxTokens() int { return e.maxTokens }

// Parallel implements embeddings.Model.
func (e *Encoder) Parallel() int { return len(e.allSessions) }

// Padded tokens of one run. On a CPU, a quantized model gains nothing from larger batches, and
// loses once the batch exceeds the cache. An fp32 model gains up to about twice that size. A GPU
// needs large batches to be busy.
const (
	batchTokensInt8 = 256
	batchTokensFP32 = 512
	batchTokensCUDA = 16384
)

// BatchTokens implements embeddings.Model.
func (e *Encoder) BatchTokens() int { return e.batchTokens }

// chooseBatchTokens searches the whole model. It is called once, when the encoder is opened.
func (e *Encoder) chooseBatchTokens() int {
	switch {
	case e.oneByOne:
		return 1
	case e.device.cuda:
		return batchTokensCUDA
	case e.files.IsQuantized():
		return batchTokensInt8
	}
	return batchTokensFP32
}

// Digest implements embeddings.Model.
func (e *Encoder) Digest() string { return e.digest }

// Device returns where the encoder runs: cpu or cuda:N.
func (e *Encoder) Device() string {
	if e.device.cuda {
		return fmt.Sprintf("cuda:%d", e.device.index)
	}
	return "cpu"
}

// FallbackReason returns why the encoder runs on the CPU although a GPU was asked for, "" if it
// does not.
func (e *Encoder) FallbackReason() string { return e.fallbackReason }

// Close waits for the runs in progress and frees the sessions. Later runs, and runs that wait for a
// session, return ErrClosed. Calls after the first have no effect.
func (e *Encoder) Close() {
	e.closeOnce.Do(func() {
		close(e.closed)
		e.destroySessions()
	})
}

// destroySessions frees all sessions, each as soon as it is idle.
func (e *Encoder) destroySessions() {
	for range e.allSessions {
		s := <-e.idleSessions
		s.destroy()
	}
	e.allSessions = nil
}
