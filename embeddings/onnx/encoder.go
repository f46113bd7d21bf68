package onnx

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	ort "github.com/yalue/onnxruntime_go"

	"relish/embeddings"
	"relish/embeddings/onnxfile"
)

// EncoderOptions say where and how an encoder runs. The zero value works.
type EncoderOptions struct {
	Device      string // auto (default), cpu, cuda or cuda:N
	Sessions    int    // 0 = one per core on a CPU, one on a GPU
	GPUMemLimit int64  // bytes, 0 = no limit
	// ArenaExtendStrategy is CUDA's arena_extend_strategy; "" = kSameAsRequested, which allocates
	// no more than needed.
	ArenaExtendStrategy string
	// RunTimeout ends one run of the model, which then fails; 0 = 1 minute.
	RunTimeout time.Duration
	// OnFallback is called when the encoder moves from the GPU to the CPU while it serves, with the
	// reason. It must not block. nil: nobody is told.
	OnFallback func(reason string)

	open openFunc // tests give their own sessions; nil: openSession
}

// Encoder is a loaded text encoder: an embeddings.Model on ONNX Runtime. It is safe for concurrent
// use; runs beyond the number of sessions wait for a session. The owner closes it.
//
// On a CPU, the vector of a text is a function of the text: it has the same bits alone, in any
// batch and in any session. So a run has one thread. Texts of different lengths share a run only if
// padding changes no bit on this processor. A model whose vectors would depend on the batch runs on
// one text at a time.
type Encoder struct {
	tokenizer *TextTokenizer
	files     *EncoderFiles // without the model and the tokenizer's file on a CPU
	digest    string
	dim       int
	// inputs are those of input_ids, attention_mask and token_type_ids that the model has, in its
	// order.
	inputs      []string
	output      string
	pooled      bool // the output has one vector per text, not one per token
	maxTokens   int
	isQuantized bool // the model has 8-bit weights
	perBatch    bool // the model quantizes the activations of whole batches
	// hasCommonText says that CommonText knows the encoder.
	hasCommonText bool
	opt           EncoderOptions

	sessions       atomic.Pointer[sessionPool]
	fallbackReason atomic.Pointer[string]
	// moving is held while the encoder moves to the CPU or is closed. It guards the fields below.
	moving  sync.Mutex
	retired *sessionPool // of the GPU that the encoder has left
	closed  bool
}

var _ embeddings.Model = (*Encoder)(nil)

// NewEncoder loads an encoder from its files and tries it on some texts. With the devices auto and
// cuda it falls back to the CPU if there is no usable GPU; FallbackReason says why. ctx ends
// the trial. The caller closes the encoder.
//
// A hostile model can end the process or take all its memory. A model that this process has not
// made is tried in a child process first, see package sandbox.
func (rt *Runtime) NewEncoder(
	ctx context.Context, f *EncoderFiles, opt EncoderOptions,
) (*Encoder, error) {
	d, err := parseDevice(opt.Device)
	if err != nil {
		return nil, err
	}
	if f.MaxTokens < 8 || f.MaxTokens > 8192 {
		return nil, fmt.Errorf("onnx: the longest text is %d tokens; it must be 8 to 8192",
			f.MaxTokens)
	}
	e := &Encoder{files: f, digest: f.Digest(), maxTokens: f.MaxTokens, opt: opt}
	e.hasCommonText = hasCommonText(f, e.digest)
	if e.opt.RunTimeout == 0 {
		e.opt.RunTimeout = defaultRunTimeout
	}
	if e.opt.open == nil {
		e.opt.open = openSession
	}
	if e.tokenizer, err = NewTextTokenizer(f); err != nil {
		return nil, err
	}
	if err := onnxfile.Check(f.Model); err != nil {
		return nil, fmt.Errorf("model.onnx: %w", err)
	}
	if err := e.inspectGraph(); err != nil {
		return nil, fmt.Errorf("model.onnx: %w", err)
	}
	e.isQuantized, e.perBatch = f.IsQuantized(), f.QuantizesBatches()
	if err := e.openDevice(ctx, rt, d); err != nil {
		return nil, fmt.Errorf("model.onnx: %w", err)
	}
	return e, nil
}

// maxDim bounds the components of a vector.
const maxDim = 16384

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
		if in.DataType != ort.TensorElementDataTypeInt64 || len(in.Dimensions) != 2 ||
			in.Dimensions[0] >= 0 || in.Dimensions[1] >= 0 {
			return fmt.Errorf("the input %s has the type %s and the shape %v; an encoder takes "+
				"64-bit integers with two dynamic axes, for texts and tokens: export the model "+
				"again", in.Name, in.DataType, in.Dimensions)
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
		if out.DataType != ort.TensorElementDataTypeFloat || last < 1 || last > maxDim ||
			rank != 2 && rank != 3 {
			continue
		}
		if e.output == "" || out.Name == "sentence_embedding" {
			e.output, e.dim, e.pooled = out.Name, int(last), rank == 2
		}
	}
	if e.output == "" {
		return fmt.Errorf("the model has no output of token states or sentence vectors: one with "+
			"32-bit floats, two or three axes, and 1 to %d components", maxDim)
	}
	return nil
}

// Tokenize implements embeddings.Model.
func (e *Encoder) Tokenize(dst []int32, text string) []int32 {
	return e.tokenizer.Tokenize(dst, text, e.maxTokens)
}

// UnknownShare returns which share of the letters of a text the encoder does not know, 0 to 1.
func (e *Encoder) UnknownShare(text string) float64 { return e.tokenizer.UnknownShare(text) }

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
	sessions := e.sessions.Load()
	err := sessions.run(ctx, batch, out)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if sessions, err = e.leaveFailedGPU(ctx, sessions, err); err != nil {
		return err
	}
	return sessions.run(ctx, batch, out)
}

// Encode encodes any number of tokenized texts and returns their unit vectors, nil for a text
// without tokens. It batches texts of similar lengths, so that little is padded. It is for
// background work; package embeddings serves requests.
func (e *Encoder) Encode(ctx context.Context, texts [][]int32) ([][]float32, error) {
	var order []int
	for i := range texts {
		if len(texts[i]) > 0 {
			order = append(order, i)
		}
	}
	out := make([][]float32, len(texts))
	sessions := e.sessions.Load()
	for indexes := range sessions.runsOf(texts, order, sessions.batchTokens) {
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

// Bucket implements embeddings.Model.
func (e *Encoder) Bucket(n int) int { return e.sessions.Load().bucket(n) }

// MixesBuckets implements embeddings.Model.
func (e *Encoder) MixesBuckets() bool { return e.sessions.Load().mixes }

// Dim implements embeddings.Model.
func (e *Encoder) Dim() int { return e.dim }

// MaxTokens implements embeddings.Model.
func (e *Encoder) MaxTokens() int { return e.maxTokens }

// Parallel implements embeddings.Model.
func (e *Encoder) Parallel() int { return e.sessions.Load().size }

// BatchTokens implements embeddings.Model.
func (e *Encoder) BatchTokens() int { return e.sessions.Load().batchTokens }

// Digest implements embeddings.Model.
func (e *Encoder) Digest() string { return e.digest }

// Checked reports whether the encoder's files were compared with SHA256SUMS.
func (e *Encoder) Checked() bool { return e.files.Checked }

// Device returns where the encoder runs: cpu or cuda:N.
func (e *Encoder) Device() string {
	if d := e.sessions.Load().device; d.cuda {
		return fmt.Sprintf("cuda:%d", d.index)
	}
	return "cpu"
}

// FallbackReason returns why the encoder runs on the CPU although a GPU was asked for or was used,
// "" if it does not.
func (e *Encoder) FallbackReason() string {
	if reason := e.fallbackReason.Load(); reason != nil {
		return *reason
	}
	return ""
}

// Close waits for the runs in progress and frees the sessions. Later runs, and runs that wait for a
// session, return ErrClosed. Calls after the first have no effect.
func (e *Encoder) Close() {
	e.moving.Lock()
	e.closed = true
	sessions, retired := e.sessions.Load(), e.retired
	e.moving.Unlock()
	sessions.close()
	sessions.wait()
	if retired != nil {
		retired.wait()
	}
}
