package onnx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	ort "github.com/yalue/onnxruntime_go"

	"relish/embeddings"
	"relish/embeddings/tokenizer"
)

// EncoderOptions say where and how an encoder runs. The zero value works.
type EncoderOptions struct {
	Device              string // auto (default), cpu, cuda, cuda:N
	MaxTokens           int    // longest text, special tokens included; 0 = 128
	Sessions            int    // 0 = one per core on a CPU, one on a GPU
	GPUMemLimit         int64  // bytes, 0 = no limit
	ArenaExtendStrategy string // CUDA's arena_extend_strategy; "" = kSameAsRequested, which grows no more than needed
}

// Encoder is a loaded text encoder: embeddings.Model on ONNX Runtime. It is safe for concurrent use;
// runs beyond the number of sessions wait for one.
type Encoder struct {
	tokenizer      *tokenizer.Tokenizer
	files          *EncoderFiles
	digest         string
	dim            int
	inputs         []string // of input_ids, attention_mask and token_type_ids, in the model's order
	output         string
	pooled         bool // the output is a vector per text already
	idleSessions   chan *session
	allSessions    []*session
	device         device
	fallbackReason string
	maxTokens      int
}

var _ embeddings.Model = (*Encoder)(nil)

// LoadEncoder loads the encoder in dir. auto and cuda fall back to the CPU where there is no usable
// GPU; Fallback says why.
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

// NewEncoder loads an encoder from its files, as LoadEncoder does; their MaxTokens counts, not the options'.
func (rt *Runtime) NewEncoder(f *EncoderFiles, opt EncoderOptions) (*Encoder, error) {
	d, err := parseDevice(opt.Device)
	if err != nil {
		return nil, err
	}
	if f.MaxTokens < 8 || f.MaxTokens > 8192 {
		return nil, fmt.Errorf("onnx: the longest text is %d tokens; it is 8 to 8192", f.MaxTokens)
	}
	e := &Encoder{files: f, digest: f.Digest(), maxTokens: f.MaxTokens}
	if e.tokenizer, err = tokenizer.Load(f.Tokenizer); err != nil {
		return nil, err
	}
	if err := e.inspectGraph(); err != nil {
		return nil, fmt.Errorf("model.onnx: %w", err)
	}
	if err := e.openDevice(rt, d, &opt); err != nil {
		return nil, fmt.Errorf("model.onnx: %w", err)
	}
	return e, nil
}

// inspectGraph finds the model's inputs and output.
func (e *Encoder) inspectGraph() error {
	ins, outs, err := ort.GetInputOutputInfoWithONNXData(e.files.Model)
	if err != nil {
		return err
	}
	for _, in := range ins {
		if !slices.Contains([]string{inputIDs, inputMask, inputTypes}, in.Name) {
			return fmt.Errorf("it wants the input %q; an encoder has %s, %s and perhaps %s", in.Name, inputIDs, inputMask, inputTypes)
		}
		e.inputs = append(e.inputs, in.Name)
	}
	if !slices.Contains(e.inputs, inputIDs) || !slices.Contains(e.inputs, inputMask) {
		return fmt.Errorf("it lacks the inputs %s and %s", inputIDs, inputMask)
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
		return errors.New("it has no float output of token states or sentence vectors")
	}
	return nil
}

// openDevice makes the sessions, on the GPU if it can.
func (e *Encoder) openDevice(rt *Runtime, d device, opt *EncoderOptions) error {
	if d.cuda {
		err := rt.hasCUDA()
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
			e.Close()
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
		return dst[:start] // nothing between the special tokens
	}
	return dst
}

// Run implements embeddings.Model.
func (e *Encoder) Run(ctx context.Context, batch [][]int32, out [][]float32) error {
	if len(batch) == 0 {
		return nil
	}
	for i, ids := range batch {
		if len(ids) == 0 || len(ids) > e.maxTokens {
			return fmt.Errorf("onnx: row %d has %d tokens; a row has 1 to %d", i, len(ids), e.maxTokens)
		}
	}
	select {
	case s := <-e.idleSessions:
		defer func() { e.idleSessions <- s }()
		return s.run(ctx, batch, out)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// encodeBatchSize is how many texts Vectors runs at once.
const encodeBatchSize = 16

// Encode encodes any number of tokenized texts, those of about one length together, and gives their unit vectors; nil for a
// text without tokens. It is for work that nobody waits for: package embeddings serves requests.
func (e *Encoder) Encode(ctx context.Context, texts [][]int32) ([][]float32, error) {
	var order []int
	for i := range texts {
		if len(texts[i]) > 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(texts[a]) - len(texts[b]) })
	out := make([][]float32, len(texts))
	for part := range slices.Chunk(order, encodeBatchSize) {
		var batch [][]int32
		var into [][]float32
		for _, i := range part {
			out[i] = make([]float32, e.dim)
			batch, into = append(batch, texts[i]), append(into, out[i])
		}
		if err := e.Run(ctx, batch, into); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// lengthBuckets are the padded lengths: fine steps where most titles are, so that little is padded.
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

// Padded tokens of one run: on a CPU a quantised model gains nothing from more, and loses once the
// batch leaves the cache; fp32 gains up to about twice that; a GPU wants to be filled.
const (
	batchTokensInt8 = 256
	batchTokensFP32 = 512
	batchTokensCUDA = 16384
)

// BatchTokens implements embeddings.Model.
func (e *Encoder) BatchTokens() int {
	switch {
	case e.device.cuda:
		return batchTokensCUDA
	case e.files.IsQuantised():
		return batchTokensInt8
	}
	return batchTokensFP32
}

// Digest implements embeddings.Model.
func (e *Encoder) Digest() string { return e.digest }

// Device says where the encoder runs: cpu or cuda:N.
func (e *Encoder) Device() string {
	if e.device.cuda {
		return fmt.Sprintf("cuda:%d", e.device.index)
	}
	return "cpu"
}

// FallbackReason says why the encoder runs on the CPU although a GPU was asked for, "" if it does not.
func (e *Encoder) FallbackReason() string { return e.fallbackReason }

// Close frees the sessions. No Run may be under way.
func (e *Encoder) Close() {
	for _, s := range e.allSessions {
		s.destroy()
	}
	e.allSessions = nil
}
