package sim

// ring is a FIFO that reuses its memory: it allocates only while it grows.
type ring[T any] struct {
	buf        []T // len is a power of two
	head, size int
}

func (r *ring[T]) push(v T) {
	if r.size == len(r.buf) {
		bigger := make([]T, max(16, 2*len(r.buf)))
		for i := range r.size {
			bigger[i] = r.buf[(r.head+i)&(len(r.buf)-1)]
		}
		r.buf, r.head = bigger, 0
	}
	r.buf[(r.head+r.size)&(len(r.buf)-1)] = v
	r.size++
}

// front is the oldest element; only valid while size > 0.
func (r *ring[T]) front() *T { return &r.buf[r.head] }

func (r *ring[T]) pop() T {
	v := r.buf[r.head]
	var zero T
	r.buf[r.head] = zero // do not keep packets alive
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.size--
	return v
}
