package wgbond

// deque is a queue of handles that also takes some back at its head. The zero
// value is empty and ready; it grows to what it once held and stays so.
type deque[T any] struct {
	buf  []T // len is a power of two
	head int
	n    int
}

func (d *deque[T]) len() int { return d.n }

func (d *deque[T]) at(i int) *T { return &d.buf[(d.head+i)&(len(d.buf)-1)] }

func (d *deque[T]) pushBack(v T) {
	d.grow()
	*d.at(d.n) = v
	d.n++
}

// insert puts v before the i-th element.
func (d *deque[T]) insert(i int, v T) {
	d.grow()
	d.head = (d.head - 1) & (len(d.buf) - 1)
	d.n++
	for j := range i {
		*d.at(j) = *d.at(j + 1)
	}
	*d.at(i) = v
}

func (d *deque[T]) front() T { return *d.at(0) }

func (d *deque[T]) popFront() T {
	v := d.front()
	var zero T
	*d.at(0) = zero
	d.head = (d.head + 1) & (len(d.buf) - 1)
	d.n--
	return v
}

func (d *deque[T]) popBack() T {
	d.n--
	v := *d.at(d.n)
	var zero T
	*d.at(d.n) = zero
	return v
}

func (d *deque[T]) grow() {
	if d.n < len(d.buf) {
		return
	}
	buf := make([]T, max(16, 2*len(d.buf)))
	for i := range d.n {
		buf[i] = *d.at(i)
	}
	d.buf, d.head = buf, 0
}
