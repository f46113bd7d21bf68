package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training"
	"relish/training/finetune"
	"relish/training/signals"
)

// EncoderTuner is what the text encoder is tuned with.
type EncoderTuner struct {
	Runtime *onnx.Runtime
	// Files is the encoder that tuning begins with, with 32-bit weights; an error says why there is none.
	Files func() (*onnx.EncoderFiles, error)
	// Finetuned opens the tuned encoder's vectors. Its Vectors.Dir is not read.
	Finetuned finetuned.Options
}

// tuned is what became of the tuning.
type tuned struct {
	why    string             // the encoder was not tuned, or is not used although it was
	failed bool               // that is not how it should be
	result *finetune.Result   // nil where it was not tuned
	texts  *finetuned.Vectors // the tuned encoder's vectors, nil where it is not used
}

// tune tunes the text encoder where there is enough to learn from, and puts it in the base encoder's place if it is better on
// texts that took no part.
func (r *run) tune(ctx context.Context, p *plan) error {
	r.tuned = &tuned{}
	forced := r.Config.Encoder.Tune == training.TuneOn
	err := r.learnTexts(ctx, p)
	few := new(untuned)
	switch {
	case errors.As(err, few) && !forced, errors.As(err, few) && few.kept:
		r.tuned.why, r.tuned.failed = few.why, few.failed
		r.keepRunning(p)
		return nil
	case err != nil:
		return err
	}
	return r.adopt(ctx, p)
}

// keepRunning has a training that was to go on from the running bundle's own encoder read by it as it is.
func (r *run) keepRunning(p *plan) {
	b := r.running.bundle
	if r.Config.Encoder.Begin != training.BeginActive || r.parent != nil || r.vectors == nil || b == nil || b.Model.Vectors == nil {
		return
	}
	r.trainBy(b.Model.Vectors, p)
	r.Encoder, r.encoderOf = b.Manifest.Encoder, b.Model.Version
}

// trainBy has everything from here on trained on these vectors.
func (r *run) trainBy(service ranker.Vectors, p *plan) {
	r.pin(r.vectors)
	r.vectors = newVectors(service)
	p.measured.Vectors = r.vectors
}

// untuned says why the encoder stays as it is.
type untuned struct {
	why    string
	kept   bool // whatever was asked for
	failed bool
}

// Error implements error.
func (u untuned) Error() string { return u.why }

func (r *run) learnTexts(ctx context.Context, p *plan) error {
	mode := r.Config.Encoder
	switch {
	case mode.Tune == training.TuneOff:
		return untuned{why: "--tune-encoder=false, or train.encoder.tune, says so", kept: true}
	case r.vectors == nil || r.EncoderTuner == nil:
		return untuned{why: "nothing reads texts", kept: true}
	case r.parent != nil:
		return untuned{why: "a bundle that is trained on keeps its encoder", kept: true}
	}
	files, err := r.EncoderTuner.Files()
	if err == nil && mode.Begin == training.BeginActive {
		files, err = r.runningFiles(files)
	}
	if err != nil {
		return untuned{why: err.Error(), failed: true}
	}
	on := finetune.Input{Runtime: r.EncoderTuner.Runtime, Backend: r.Backend, Files: files}
	if on.Corpus, on.HasNewEvents, err = r.spared(ctx, p); err != nil {
		return err
	}
	cfg := r.Config.Finetune()
	if n := steps(on.Corpus); mode.Tune == training.TuneAuto && cfg.Objective == finetune.NextItem && n < training.MinTuningSteps {
		return untuned{why: fmt.Sprintf("beside the lists that the blend learns from, the log has %d steps of users from one text to the next; from %d on it is tuned, or with --tune-encoder", n, training.MinTuningSteps)}
	}
	cfg.Progress = func(p finetune.Evaluation) {
		share := max(float64(p.Step)/float64(cfg.MaxSteps), float64(p.Elapsed)/float64(cfg.TimeLimit))
		loss := ""
		if p.Step > 0 {
			loss = fmt.Sprintf(" loss %.3f,", p.Loss)
		}
		r.Progress(fmt.Sprintf("text encoder, step %d,%s held-out NDCG@10 %.3f, per mille", p.Step, loss, p.NDCG), int(1000*min(1, share)), 1000)
	}
	res, err := finetune.Train(ctx, on, cfg)
	if errors.Is(err, finetune.ErrTooLittleData) {
		return untuned{why: fmt.Sprintf("%v; what users did from the first of the %d newest lists on is left to the blend: a smaller train.max_lists leaves more to the encoder, and --objective %s needs no users", err, r.Config.MaxLists, finetune.TitleText)}
	}
	if err != nil && ctx.Err() == nil {
		return untuned{why: err.Error(), failed: true}
	}
	if err != nil {
		return err
	}
	r.tuned.result = res
	if !res.Validation.Better() {
		return untuned{why: fmt.Sprintf("on texts that took no part it is not better, or not in 8 bits: %s NDCG@10, %s in 8 bits", res.Validation.Difference, res.Validation.Int8), kept: true}
	}
	return nil
}

// spared is what may be learned from, and which users did something since the running bundle was trained.
func (r *run) spared(ctx context.Context, p *plan) (c *signals.Corpus, fresh []bool, err error) {
	in := &p.measured
	log, err := in.Scan(ctx)
	if err != nil {
		return nil, nil, err
	}
	cut, err := log.HoldoutStart(in.Holdout)
	if err != nil {
		return nil, nil, err
	}
	cuts := []uint64{cut}
	if p.again {
		cuts = append(cuts, math.MaxUint64)
	}
	if r.Config.Encoder.Begin == training.BeginActive && r.running.bundle != nil {
		fresh = make([]bool, log.Users.Len())
		for _, s := range log.Interactions {
			fresh[s.User] = fresh[s.User] || s.Seq >= r.found.runningEnd
		}
	}
	return training.EncoderSplit(log, cuts, &in.Config), fresh, nil
}

// steps counts what tuning on histories learns from, about: from one text to the next.
func steps(c *signals.Corpus) (n int) {
	for i := range c.Users {
		texts := 0
		for _, s := range c.Users[i].Interactions {
			if info := c.ItemInfos[s.Item]; info != nil && info.TextKey != 0 {
				texts++
			}
		}
		n += max(0, texts-1)
	}
	return n
}

// runningFiles is the running bundle's own encoder, the given one where it has none.
func (r *run) runningFiles(base *onnx.EncoderFiles) (*onnx.EncoderFiles, error) {
	b := r.running.bundle
	if b == nil || !b.Manifest.Encoder.FineTuned {
		return base, nil
	}
	return finetuned.ReadFiles(filepath.Join(r.Root, b.Model.Version), true)
}

// adopt has every text encoded by the tuned encoder, from which all that is trained then learns. What ranks now goes on
// reading what it was trained on.
func (r *run) adopt(ctx context.Context, p *plan) (err error) {
	res := r.tuned.result
	opt, files := r.EncoderTuner.Finetuned, res.Int8
	if opt.FP32 {
		files = res.FP32
	}
	opt.Vectors.Dir = filepath.Join(r.work, vectorsFolder)
	if err := os.RemoveAll(opt.Vectors.Dir); err != nil { // of a training that died
		return err
	}
	if r.tuned.texts, err = finetuned.New(files, opt); err != nil {
		return err
	}
	if err := r.encodeAnew(ctx); err != nil {
		return err
	}
	r.trainBy(r.tuned.texts, p)
	r.Encoder = bundle.Encoder{ID: r.Encoder.ID + ", tuned", Digest: res.Int8.Digest(), FineTuned: true, DigestFP32: res.FP32.Digest()}
	return nil
}

// vectorsFolder is where the tuned encoder's vectors are while it is trained on, in the working folder.
const vectorsFolder = "vectors"

// encodeAnew has the tuned encoder encode every text that any item ever had.
func (r *run) encodeAnew(ctx context.Context) error {
	items := features.New(r.State)
	texts := func(yield func(*ranker.ItemInfo, error) bool) {
		err := r.source.each(func(rec *event.Record, _ uint64) bool {
			if rec.Event.Kind != event.EventItem && rec.Event.Kind != event.EventDelete {
				return true
			}
			info := items.Apply(rec)
			return info == nil || yield(info, nil)
		})
		if err != nil { // the walk's own: yield ends it without one
			yield(nil, err)
		}
	}
	return r.tuned.texts.EncodeAll(ctx, texts, func(_, encoded int) { r.Progress("encode texts by the tuned encoder", encoded, len(r.vectors.seen)) })
}

// closeTuned gives back what the tuned encoder holds.
func (r *run) closeTuned() error {
	if r.tuned == nil || r.tuned.texts == nil {
		return nil
	}
	return errors.Join(r.tuned.texts.Close(context.Background()), os.RemoveAll(filepath.Join(r.work, vectorsFolder)))
}

// encoderFiles are the files of the bundle's own encoder: the tuned one, or the one of what it was trained on from.
func (r *run) encoderFiles(ctx context.Context) (map[string][]byte, error) {
	if r.tuned.texts != nil {
		return finetuned.BundleFiles(ctx, r.EncoderTuner.Runtime, r.tuned.result.Int8, r.tuned.result.FP32)
	}
	files := map[string][]byte{}
	for _, name := range bundle.EncoderFiles {
		var err error
		if files[name], err = os.ReadFile(filepath.Join(r.Root, r.encoderOf, name)); err != nil {
			return nil, err
		}
	}
	return files, nil
}
