#include "textflag.h"

// STEP adds add to the ranks in Z3 of the cells in Z0 that are above the threshold at rank + probe.
// The thresholds are in Z1 and Z2.
#define STEP(probe, add) \
	VPADDD    probe, Z3, Z5 \
	VPERMI2PS Z2, Z1, Z5 \
	VCMPPS    $30, Z5, Z0, K1 \
	VPADDD    add, Z3, K1, Z3

// CONSTANT sets all numbers of a register.
#define CONSTANT(number, register) \
	MOVL         number, AX \
	VPBROADCASTD AX, register

// func rankCells(cells *[blockRows]float32, thresholds *float32, n int, sixteens uint, out *rankPair)
// Requires: AVX512F
TEXT ·rankCells(SB), NOSPLIT, $0-40
	MOVQ cells+0(FP), SI
	MOVQ thresholds+8(FP), DX
	MOVQ n+16(FP), CX
	MOVQ sixteens+24(FP), R8
	MOVQ out+32(FP), DI
	CONSTANT($255, Z20)
	CONSTANT($16, Z21)
	CONSTANT($15, Z22)
	CONSTANT($8, Z23)
	CONSTANT($7, Z24)
	CONSTANT($4, Z25)
	CONSTANT($3, Z26)
	CONSTANT($2, Z27)
	CONSTANT($1, Z28)
	VPXORD Z29, Z29, Z29

sixteen:
	VMOVUPS (SI), Z0
	VPXORD  Z4, Z4, Z4  // ranks among all thresholds
	XORQ    R9, R9

page:
	// 30: greater, false for NaN
	VMOVUPS (DX)(R9*4), Z1
	VMOVUPS 64(DX)(R9*4), Z2
	VPXORD  Z3, Z3, Z3
	STEP(Z22, Z21)
	STEP(Z24, Z23)
	STEP(Z26, Z25)
	STEP(Z28, Z27)
	STEP(Z29, Z28)
	VPADDD  Z3, Z4, Z4
	ADDQ    $32, R9
	CMPQ    R9, CX
	JNE     page

	VPMOVDB   Z4, 64(DI)
	VCMPPS    $3, Z0, Z0, K1 // 3: NaN
	VMOVDQA32 Z20, K1, Z4
	VPMOVDB   Z4, (DI)
	ADDQ      $64, SI
	ADDQ      $16, DI
	DECQ      R8
	JNE       sixteen
	VZEROUPPER
	RET

// func evaluateTree(t *vectorTree, ranks *rankPair, eights int, add bool, values *[blockRows]float64)
// Requires: AVX512F, AVX512BW
TEXT ·evaluateTree(SB), NOSPLIT, $64-40
	MOVQ   t+0(FP), SI
	MOVQ   ranks+8(FP), DX
	MOVQ   eights+16(FP), CX
	MOVBQZX add+24(FP), R8
	MOVQ   values+32(FP), DI
	MOVQ   0(SI), BX           // nodes
	MOVQ   8(SI), R9           // and how many
	MOVQ   24(SI), R10         // leaf values
	MOVQ   32(SI), R11         // and how many
	VPXORQ Z0, Z0, Z0          // leaf numbers

node:
	MOVL         (BX), AX
	VPBROADCASTD 4(BX), Z1
	VPBROADCASTD 8(BX), Z2
	VPBROADCASTD 12(BX), Z3
	VPCMPUB      $5, (DX)(AX*1), Z1, K1 // 5: greater or equal
	VPCMPEQB     Z2, Z0, K1, K2
	VMOVDQU8     Z3, K2, Z0
	ADDQ         $16, BX
	DECQ         R9
	JNE          node

	VMOVDQU8 Z0, leaves-64(SP)
	LEAQ     leaves-64(SP), SI
	VMOVUPD  (R10), Z3
	VMOVUPD  64(R10), Z4
	CMPQ     R11, $16
	JNE      pages

rows:
	VPMOVZXBQ (SI), Z5
	VPERMI2PD Z4, Z3, Z5
	TESTQ     R8, R8
	JEQ       store
	VADDPD    (DI), Z5, Z5

store:
	VMOVUPD Z5, (DI)
	ADDQ    $8, SI
	ADDQ    $64, DI
	DECQ    CX
	JNE     rows
	VZEROUPPER
	RET

pages:
	// The bits of a leaf number above the fourth are the number of its page.
	VPMOVZXBQ (SI), Z5
	VPSRLQ    $4, Z5, Z6
	VMOVDQA64 Z5, Z7
	VPERMI2PD Z4, Z3, Z7  // right for page 0
	MOVQ      $1, R12     // page
	MOVQ      $128, R13   // its offset in bytes

page:
	VPBROADCASTQ R12, Z8
	VPCMPEQQ     Z8, Z6, K1
	VMOVUPD      (R10)(R13*1), Z9
	VMOVDQA64    Z5, Z10
	VPERMI2PD    64(R10)(R13*1), Z9, Z10
	VMOVAPD      Z10, K1, Z7
	INCQ         R12
	ADDQ         $128, R13
	LEAQ         (R11*8), AX
	CMPQ         R13, AX
	JNE          page
	TESTQ        R8, R8
	JEQ          storePages
	VADDPD       (DI), Z7, Z7

storePages:
	VMOVUPD Z7, (DI)
	ADDQ    $8, SI
	ADDQ    $64, DI
	DECQ    CX
	JNE     pages
	VZEROUPPER
	RET

// func addBatch(values *[groupBatch][blockRows]float64, scores *[blockRows]float64, eights int)
// Requires: AVX512F
TEXT ·addBatch(SB), NOSPLIT, $0-24
	MOVQ values+0(FP), SI
	MOVQ scores+8(FP), DI
	MOVQ eights+16(FP), CX

eight:
	VMOVUPD (SI), Z0
	VADDPD  512(SI), Z0, Z0
	VMOVUPD 1024(SI), Z1
	VADDPD  1536(SI), Z1, Z1
	VADDPD  Z1, Z0, Z0
	VMOVUPD 2048(SI), Z2
	VADDPD  2560(SI), Z2, Z2
	VMOVUPD 3072(SI), Z3
	VADDPD  3584(SI), Z3, Z3
	VADDPD  Z3, Z2, Z2
	VADDPD  Z2, Z0, Z0
	VADDPD  (DI), Z0, Z0
	VMOVUPD Z0, (DI)
	ADDQ    $64, SI
	ADDQ    $64, DI
	DECQ    CX
	JNE     eight
	VZEROUPPER
	RET
