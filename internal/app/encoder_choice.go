package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"relish/embeddings/onnx"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/durable"
	"relish/internal/regularfile"
	"relish/internal/terms"
	"relish/ranker"
)

const (
	// autoEncoder is the name that stands for the encoder which suits the catalogue.
	autoEncoder = "auto"
	// chineseEncoder is the encoder that auto takes for a Chinese catalogue if it was pulled.
	chineseEncoder = "bge-small-zh"
	// fp32Suffix ends the name of an encoder's form with 32-bit weights.
	fp32Suffix = "-fp32"
	// encoderFile is the file of a data folder that names the encoder which auto has chosen.
	encoderFile = "encoder"
)

// Bounds of what is read of a log to learn the language of the catalogue.
const (
	sampleItems   = 1000
	sampleRecords = 100_000
)

// sampleTexts calls f with the texts of the first described items in the log of a data folder. A
// folder without a log has none.
func sampleTexts(data string, f func(text string)) error {
	dir := ingest.LogDir(data)
	first, err := eventlog.First(dir)
	if err != nil || first == 0 {
		return err
	}
	items, records := 0, 0
	for record, err := range eventlog.Read(dir, first) {
		if err != nil {
			return err
		}
		if e := &record.Event; e.Kind == ranker.EventItem && e.Title != nil {
			items++
			f(*e.Title)
			if e.Text != nil {
				f(*e.Text)
			}
		}
		if records++; items == sampleItems || records == sampleRecords {
			break
		}
	}
	return nil
}

// automaticEncoder returns the name of the encoder in the assets folder that auto stands for. It is
// that of encoderFile. Without this file it is chineseEncoder, if that was pulled and the catalogue
// is mostly Chinese, and else the default encoder.
func (o *EncoderOptions) automaticEncoder(assets string) (string, error) {
	if o.Data != "" {
		name, err := regularfile.Read(o.Data, encoderFile, 1<<10)
		if err == nil {
			return strings.TrimSpace(string(name)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return o.encoderOfCatalogue(assets)
}

// encoderOfCatalogue is automaticEncoder without encoderFile.
func (o *EncoderOptions) encoderOfCatalogue(assets string) (string, error) {
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(assets, "encoder", name))
		return err == nil
	}
	onGPU := strings.HasPrefix(o.Device, "cuda")
	if o.Data != "" && has(chineseEncoder) {
		var scripts terms.Scripts
		if err := sampleTexts(o.Data, scripts.Add); err != nil {
			return "", err
		}
		if scripts.IsChinese() {
			if fp32 := chineseEncoder + fp32Suffix; onGPU && has(fp32) {
				return fp32, nil
			}
			return chineseEncoder, nil
		}
	}
	if onGPU && has("fp32") {
		return "fp32", nil
	}
	return "int8", nil
}

// settleEncoder decides what auto stands for while a process holds the data folder, and writes it
// into encoderFile for the processes beside it, such as a training. The Chinese encoder stays; the
// default one gives way to it when the catalogue is Chinese. Without a log nothing is settled.
func (o *EncoderOptions) settleEncoder() error {
	if !o.isAutomatic() {
		return nil
	}
	first, err := eventlog.First(ingest.LogDir(o.Data))
	if err != nil || first == 0 {
		return err
	}
	assets, err := o.AssetsFolder()
	if err != nil {
		return err
	}
	name, err := o.automaticEncoder(assets)
	if err == nil && !strings.HasPrefix(name, chineseEncoder) {
		name, err = o.encoderOfCatalogue(assets)
	}
	if err != nil {
		return err
	}
	return durable.WriteFile(durable.Disk, filepath.Join(o.Data, encoderFile), []byte(name+"\n"))
}

// isAutomatic reports whether no encoder was named.
func (o *EncoderOptions) isAutomatic() bool { return o.Encoder == "" || o.Encoder == autoEncoder }

// languageAdvice says what to do if the encoder has no vector for most texts of the catalogue,
// because it does not know their letters. It is empty if the encoder has vectors for most.
func (o *EncoderOptions) languageAdvice(encoder *onnx.Encoder) (string, error) {
	if o.Data == "" {
		return "", nil
	}
	var scripts terms.Scripts
	texts, unknown := 0, 0
	err := sampleTexts(o.Data, func(text string) {
		scripts.Add(text)
		if texts++; encoder.UnknownShare(text) >= onnx.MaxUnknownShare {
			unknown++
		}
	})
	if err != nil || 2*unknown <= texts {
		return "", err
	}
	advice := "take one of the catalogue's language with --encoder, see docs/languages.md"
	if scripts.IsChinese() {
		advice = "the catalogue is Chinese: run relish encoder pull " + chineseEncoder +
			", then start the service again and train again"
	}
	return fmt.Sprintf("; it does not know the letters of %d of %d texts, which rank without "+
		"vectors: %s", unknown, texts, advice), nil
}
