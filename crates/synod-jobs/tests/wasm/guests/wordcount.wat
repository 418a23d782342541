;; Counts words: the maximal runs of bytes that are not ASCII whitespace. A model of the interface in
;; docs/formats/wasm.md, with nothing between it and the bytes.
;;
;; Memory: the first page holds the output of synod_reduce's current record and numbers; the batch begins at
;; 64 KiB; behind the batch, the answer. A word may be as long as the batch, so the answer to a map is at
;; most 17 times as long: one-letter words. Memory grows to what is needed.
(module
  (memory (export "memory") 4)

  (global $batch i32 (i32.const 0x10000))
  ;; The sum of the group that is being reduced.
  (global $sum (mut i64) (i64.const 0))

  (func (export "synod_abi") (result i32) (i32.const 1))

  ;; The engine adds up the counts before they travel.
  (func (export "synod_combine_add_u64"))

  ;; Sees to it that memory reaches $end, or traps.
  (func $reach (param $end i32)
    (local $pages i32)
    (local.set $pages
      (i32.sub
        (i32.shr_u (i32.add (local.get $end) (i32.const 0xffff)) (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0))
      (then
        (if (i32.lt_s (memory.grow (local.get $pages)) (i32.const 0))
          (then unreachable)))))

  (func (export "synod_buffer") (param $length i32) (result i32)
    ;; Batches of hundreds of megabytes are not for this guest.
    (if (i32.gt_u (local.get $length) (i32.const 0x3000000)) (then (return (i32.const 0))))
    (call $reach (i32.add (global.get $batch) (local.get $length)))
    (global.get $batch))

  (func $is_blank (param $byte i32) (result i32)
    (i32.or
      (i32.eq (local.get $byte) (i32.const 32))
      (i32.and
        (i32.lt_u (i32.sub (local.get $byte) (i32.const 9)) (i32.const 5))
        (i32.ne (local.get $byte) (i32.const 11)))))

  (func (export "synod_map") (param $at i32) (param $length i32) (result i64)
    (local $batch_end i32) (local $record_end i32)
    (local $answer i32) (local $out i32) (local $to i32) (local $byte i32) (local $room i32)
    (local.set $batch_end (i32.add (local.get $at) (local.get $length)))
    (local.set $answer (local.get $batch_end))
    (local.set $out (local.get $answer))
    (block $done
      (loop $record
        (br_if $done (i32.ge_u (local.get $at) (local.get $batch_end)))
        ;; offset u64, length of the key u32, length of the record u32, key, record
        (local.set $record_end
          (i32.add (i32.const 16) (i32.add (local.get $at)
            (i32.add
              (i32.load offset=8 align=1 (local.get $at))
              (i32.load offset=12 align=1 (local.get $at))))))
        (local.set $at
          (i32.add (i32.const 16)
            (i32.add (local.get $at) (i32.load offset=8 align=1 (local.get $at)))))
        ;; Every second byte may be a word, which takes 17 bytes.
        (local.set $room
          (i32.add
            (i32.add (local.get $out) (i32.const 64))
            (i32.mul (i32.sub (local.get $record_end) (local.get $at)) (i32.const 9))))
        (call $reach (local.get $room))
        (block $ended
          (loop $next
            (br_if $ended (i32.ge_u (local.get $at) (local.get $record_end)))
            (local.set $byte (i32.load8_u (local.get $at)))
            (if (call $is_blank (local.get $byte))
              (then
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br $next)))
            ;; A word begins: it is copied behind the place of its lengths as it is read.
            (local.set $to (i32.add (local.get $out) (i32.const 8)))
            (loop $letter
              (i32.store8 (local.get $to) (local.get $byte))
              (local.set $to (i32.add (local.get $to) (i32.const 1)))
              (local.set $at (i32.add (local.get $at) (i32.const 1)))
              (if (i32.lt_u (local.get $at) (local.get $record_end))
                (then
                  (local.set $byte (i32.load8_u (local.get $at)))
                  (br_if $letter (i32.eqz (call $is_blank (local.get $byte)))))))
            ;; length of the key u32, length of the value u32 (8), key, value: one
            (i64.store align=1 (local.get $out)
              (i64.or
                (i64.const 0x800000000)
                (i64.extend_i32_u
                  (i32.sub (i32.sub (local.get $to) (local.get $out)) (i32.const 8)))))
            (i64.store align=1 (local.get $to) (i64.const 1))
            (local.set $out (i32.add (local.get $to) (i32.const 8)))
            (br $next)))
        (local.set $at (local.get $record_end))
        (br $record)))
    (call $answered (local.get $answer) (local.get $out)))

  ;; The bytes from $from to $to, as an answer.
  (func $answered (param $from i32) (param $to i32) (result i64)
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $from)) (i64.const 32))
      (i64.extend_i32_u (i32.sub (local.get $to) (local.get $from)))))

  (func (export "synod_reduce") (param $at i32) (param $length i32) (result i64)
    (local $batch_end i32) (local $key i32) (local $key_length i32) (local $flags i32)
    (local $values i32) (local $answer i32) (local $out i32) (local $size i32)
    (local.set $batch_end (i32.add (local.get $at) (local.get $length)))
    (local.set $answer (local.get $batch_end))
    (local.set $out (local.get $answer))
    (block $done
      (loop $group
        (br_if $done (i32.ge_u (local.get $at) (local.get $batch_end)))
        ;; length of the key u32, flags u32, number of values u32, key
        (local.set $key_length (i32.load align=1 (local.get $at)))
        (local.set $flags (i32.load offset=4 align=1 (local.get $at)))
        (local.set $values (i32.load offset=8 align=1 (local.get $at)))
        (local.set $key (i32.add (local.get $at) (i32.const 12)))
        (local.set $at (i32.add (local.get $key) (local.get $key_length)))
        (if (i32.eqz (i32.and (local.get $flags) (i32.const 1)))
          (then (global.set $sum (i64.const 0))))
        ;; each value: its length u32 (8), a count u64
        (loop $value
          (global.set $sum
            (i64.add (global.get $sum) (i64.load offset=4 align=1 (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 12)))
          (local.set $values (i32.sub (local.get $values) (i32.const 1)))
          (br_if $value (local.get $values)))
        (if (i32.eqz (i32.and (local.get $flags) (i32.const 2)))
          (then
            ;; A record of output: its length u32, the word, a tab, the sum in decimal.
            (call $reach (i32.add (i32.add (local.get $out) (local.get $key_length)) (i32.const 64)))
            (memory.copy
              (i32.add (local.get $out) (i32.const 4)) (local.get $key) (local.get $key_length))
            (local.set $size (i32.add (local.get $key_length) (i32.const 1)))
            (i32.store8 offset=4
              (i32.add (local.get $out) (local.get $key_length)) (i32.const 9))
            (local.set $size
              (i32.add
                (local.get $size)
                (call $decimal
                  (i32.add (i32.add (local.get $out) (i32.const 4)) (local.get $size)))))
            (i32.store align=1 (local.get $out) (local.get $size))
            (local.set $out
              (i32.add (i32.add (local.get $out) (i32.const 4)) (local.get $size)))))
        (br $group)))
    (call $answered (local.get $answer) (local.get $out)))

  ;; Writes the sum in decimal and gives its length.
  (func $decimal (param $to i32) (result i32)
    (local $rest i64) (local $at i32) (local $length i32)
    (local.set $rest (global.get $sum))
    (local.set $at (i32.const 32))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $rest) (i64.const 10)))))
      (local.set $rest (i64.div_u (local.get $rest) (i64.const 10)))
      (br_if $digit (i64.ne (local.get $rest) (i64.const 0))))
    (local.set $length (i32.sub (i32.const 32) (local.get $at)))
    (memory.copy (local.get $to) (local.get $at) (local.get $length))
    (local.get $length)))
