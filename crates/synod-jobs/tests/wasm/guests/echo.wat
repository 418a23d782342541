;; Gives every record back: key and content swapped, with the offset before the value, so that a job over it
;; shows whether records come through whole. Emits (record, offset u64 ++ key); writes key ++ value for every
;; value of a group, without a state of its own. The answer is put behind the batch.
(module
  (memory (export "memory") 4)

  (func (export "synod_abi") (result i32) (i32.const 1))

  ;; Sees to it that memory reaches $end, or says that it cannot.
  (func $reach (param $end i32) (result i32)
    (local $pages i32)
    (local.set $pages
      (i32.sub
        (i32.shr_u (i32.add (local.get $end) (i32.const 0xffff)) (i32.const 16))
        (memory.size)))
    (if (i32.le_s (local.get $pages) (i32.const 0)) (then (return (i32.const 1))))
    (i32.ge_s (memory.grow (local.get $pages)) (i32.const 0)))

  ;; What is given back of a record is 8 bytes longer than the record; of a value, perhaps a whole key longer.
  (func (export "synod_buffer") (param $length i32) (result i32)
    (if (i32.gt_u (local.get $length) (i32.const 0x20000000)) (then (return (i32.const 0))))
    (if (result i32)
      (call $reach
        (i32.add (i32.const 0x20000) (i32.mul (local.get $length) (i32.const 2))))
      (then (i32.const 0x10000))
      (else (i32.const 0))))

  (func (export "synod_map") (param $at i32) (param $length i32) (result i64)
    (local $end i32) (local $out i32) (local $key i32) (local $bytes i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (local.set $out (local.get $end))
    (block $done
      (loop $record
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $key (i32.load offset=8 align=1 (local.get $at)))
        (local.set $bytes (i32.load offset=12 align=1 (local.get $at)))
        (drop (call $reach
          (i32.add (i32.add (local.get $out) (i32.const 16))
            (i32.add (local.get $key) (local.get $bytes)))))
        (i32.store align=1 (local.get $out) (local.get $bytes))
        (i32.store offset=4 align=1 (local.get $out) (i32.add (local.get $key) (i32.const 8)))
        (local.set $out (i32.add (local.get $out) (i32.const 8)))
        (memory.copy
          (local.get $out)
          (i32.add (i32.add (local.get $at) (i32.const 16)) (local.get $key))
          (local.get $bytes))
        (local.set $out (i32.add (local.get $out) (local.get $bytes)))
        (i64.store align=1 (local.get $out) (i64.load align=1 (local.get $at)))
        (memory.copy
          (i32.add (local.get $out) (i32.const 8))
          (i32.add (local.get $at) (i32.const 16))
          (local.get $key))
        (local.set $out (i32.add (i32.add (local.get $out) (i32.const 8)) (local.get $key)))
        (local.set $at
          (i32.add (i32.add (local.get $at) (i32.const 16))
            (i32.add (local.get $key) (local.get $bytes))))
        (br $record)))
    (call $answer (local.get $end) (local.get $out)))

  (func (export "synod_reduce") (param $at i32) (param $length i32) (result i64)
    (local $end i32) (local $out i32)
    (local $key i32) (local $key_length i32) (local $values i32) (local $value i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (local.set $out (local.get $end))
    (block $done
      (loop $group
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $key_length (i32.load align=1 (local.get $at)))
        (local.set $values (i32.load offset=8 align=1 (local.get $at)))
        (local.set $key (i32.add (local.get $at) (i32.const 12)))
        (local.set $at (i32.add (local.get $key) (local.get $key_length)))
        (loop $each
          (local.set $value (i32.load align=1 (local.get $at)))
          (if (i32.eqz (call $reach
                (i32.add (i32.add (local.get $out) (i32.const 4))
                  (i32.add (local.get $key_length) (local.get $value)))))
            (then unreachable))
          (i32.store align=1 (local.get $out)
            (i32.add (local.get $key_length) (local.get $value)))
          (local.set $out (i32.add (local.get $out) (i32.const 4)))
          (memory.copy (local.get $out) (local.get $key) (local.get $key_length))
          (local.set $out (i32.add (local.get $out) (local.get $key_length)))
          (memory.copy
            (local.get $out) (i32.add (local.get $at) (i32.const 4)) (local.get $value))
          (local.set $out (i32.add (local.get $out) (local.get $value)))
          (local.set $at (i32.add (i32.add (local.get $at) (i32.const 4)) (local.get $value)))
          (local.set $values (i32.sub (local.get $values) (i32.const 1)))
          (br_if $each (local.get $values)))
        (br $group)))
    (call $answer (local.get $end) (local.get $out)))

  (func $answer (param $from i32) (param $to i32) (result i64)
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $from)) (i64.const 32))
      (i64.extend_i32_u (i32.sub (local.get $to) (local.get $from))))))
