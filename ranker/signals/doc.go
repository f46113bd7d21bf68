// Package signals holds the user-item signals. Each compares what a user recently did with every
// candidate and writes columns of the feature matrix:
//
//	text.*           TextSimilarity        cosine of text vectors
//	overlap.*        TokenOverlap          shared words of title and tags
//	lexical.*        Lexical               TF-IDF and BM25
//	cooccurrence.*   Cooccurrence          items that the same users interacted with
//	factorization.*  MatrixFactorization   implicit-feedback matrix factorization
//	two_tower.*      TwoTower              neural model of what users do next
//	residual.*       ResidualGP            Gaussian process over click residuals
//	content_prior.*  ContentPrior          popularity that an item's content predicts
//	query_history.*  QueryHistory          what was chosen for similar search texts
//
// The first two have nothing to learn. The others are TrainedSignals: package training/signals and
// training/twotower fill their exported fields, and a bundle keeps each as a file. Loader reads
// both kinds.
//
// A signal reads nothing but its ranker.SignalInput, so that replay computes the same columns as
// serving did.
package signals
