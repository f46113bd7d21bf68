package onnxfile

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// More numbers of protobuf fields in onnx.proto, which Check looks at.
const (
	modelTraining  = 20
	modelFunctions = 25

	graphSparseInitializer = 15

	attributeTensor        = 5
	attributeGraph         = 6
	attributeTensors       = 10
	attributeGraphs        = 11
	attributeSparseTensor  = 22
	attributeSparseTensors = 23

	sparseValues  = 1
	sparseIndices = 2

	tensorExternalData = 13
)

// allowedDomains are the sets of operators that a model may use: those of ONNX and of ONNX Runtime.
// Operators of other domains come from libraries, or run Python.
var allowedDomains = []string{"", "ai.onnx.ml", "com.microsoft"}

// maxGraphDepth bounds how deep graphs are nested in loops and conditions.
const maxGraphDepth = 8

// Check refuses a model that a runtime should not even read: one that names other files, that has
// functions of its own or operators of unknown sets, or whose graphs are nested too deeply. It
// looks at every tensor and node, also in nested graphs. What the model computes may still be
// hostile.
func Check(model []byte) error {
	var found bool
	err := walkFields(model, func(n protowire.Number, _, value []byte) error {
		switch n {
		case modelGraph:
			found = true
			return checkGraph(value, 1)
		case modelFunctions:
			return errors.New("the model has functions of its own, which are not supported: " +
				"export it again with its functions inlined")
		case modelTraining:
			return errors.New("the model has a training graph, which is not supported: export it " +
				"again for inference")
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("onnxfile: %w", err)
	case !found:
		return errNoGraph
	}
	return nil
}

func checkGraph(graph []byte, depth int) error {
	if depth > maxGraphDepth {
		return fmt.Errorf("graphs are nested in more than %d levels: use another model",
			maxGraphDepth)
	}
	return walkFields(graph, func(n protowire.Number, _, value []byte) error {
		switch n {
		case graphNode:
			return checkNode(value, depth)
		case graphInitializer:
			return checkTensor(value)
		case graphSparseInitializer:
			return checkSparseTensor(value)
		}
		return nil
	})
}

func checkNode(node []byte, depth int) error {
	var op, domain string
	err := walkFields(node, func(n protowire.Number, _, value []byte) error {
		switch n {
		case nodeOp:
			op = string(value)
		case nodeDomain:
			domain = canonicalDomain(string(value))
		case nodeAttribute:
			return checkAttribute(value, depth)
		}
		return nil
	})
	if err == nil && !slices.Contains(allowedDomains, domain) {
		err = fmt.Errorf("the operator %.100q is of the set %.100q, which is not supported: "+
			"export the model with operators of ONNX only", op, domain)
	}
	return err
}

func checkAttribute(attribute []byte, depth int) error {
	return walkFields(attribute, func(n protowire.Number, _, value []byte) error {
		switch n {
		case attributeGraph, attributeGraphs:
			return checkGraph(value, depth+1)
		case attributeTensor, attributeTensors:
			return checkTensor(value)
		case attributeSparseTensor, attributeSparseTensors:
			return checkSparseTensor(value)
		}
		return nil
	})
}

func checkSparseTensor(sparse []byte) error {
	return walkFields(sparse, func(n protowire.Number, _, value []byte) error {
		if n == sparseValues || n == sparseIndices {
			return checkTensor(value)
		}
		return nil
	})
}

func checkTensor(tensor []byte) error {
	var name string
	var external bool
	err := walkFields(tensor, func(n protowire.Number, whole, value []byte) error {
		switch n {
		case tensorName:
			name = string(value)
		case tensorExternalData:
			external = true
		case tensorDataLocation:
			where, err := parseIntegers(whole, value)
			external = external || len(where) != 1 || where[0] != 0
			return err
		}
		return nil
	})
	if err == nil && external {
		err = errExternalData
	}
	if err != nil {
		return fmt.Errorf("weight %.100q: %w", name, err)
	}
	return nil
}
