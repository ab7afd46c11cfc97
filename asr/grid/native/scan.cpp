// One Grid LSTM layer over a batch on the CPU, forward and backward; `asr.grid.scan` says what it computes.
//
// Every thread takes utterances of its own (and directions, where there are more threads than utterances) through the whole
// scan, without waiting for the others. In each step it packs what its cells see into rows [h_1 ... h_A, x], multiplies
// them with the weights a panel at a time (the gates of LANES hidden units), and turns a panel into activations while it
// is in the first-level cache. The way back packs the same rows again, so that only memory, hidden vectors and
// activations are kept; gradients of weights are summed over FLUSH rows before they are added up.

#include <cstdlib>
#include <memory>
#include <new>

#include <omp.h>

#include "plan.h"
#include "products_bfloat16.h"
#include "vectors.h"

namespace grid {

constexpr int LANES = 16;  // hidden units of a block
constexpr float GREATEST = 3.3895314e38f;  // of bfloat16

inline int64_t rounded_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

// How many of the remaining rows to multiply next, so that no product is left with one or two.
template <class Products>
int64_t even_part(int64_t rows) {
    const int64_t products = (rows + Products::ROWS - 1) / Products::ROWS;
    return (rows + products - 1) / products;
}

// Memory aligned to a cache line, zero at first, or whatever it was.
template <class Number>
class Buffer {
   public:
    enum Content { ZERO, AS_IT_IS };
    Buffer() = default;
    explicit Buffer(int64_t count, Content content = ZERO) {
        const size_t bytes = rounded_up(std::max<int64_t>(count, 1) * sizeof(Number), 64);
        numbers_.reset(static_cast<Number*>(std::aligned_alloc(64, bytes)));
        if (!numbers_) throw std::bad_alloc();
        if (content == ZERO) std::memset(numbers_.get(), 0, bytes);
    }
    operator Number*() const { return numbers_.get(); }

   private:
    struct Free {
        void operator()(Number* numbers) const { std::free(numbers); }
    };
    std::unique_ptr<Number, Free> numbers_;
};

// Sizes in the kernel's own layout: hidden units in blocks of LANES, the last filled with zeros.
struct Sizes {
    int64_t hidden, blocks, padded_hidden, axes, gates;
    int64_t transforms;    // LSTMs of a cell: one an axis, and one along depth if there is a memory
    int64_t operand;       // what the gates see: the axes' hidden vectors (padded), then the input
    int64_t operand_row;   // numbers from one operand to the next, zeros behind it
    int64_t activations;   // of a cell: transforms * blocks panels of gates * LANES
    int64_t gates_row;     // numbers from the gradients of one row of activations to the next, zeros behind them
    int64_t panel;         // columns of a panel
    int64_t sent;          // axes * padded_hidden

    explicit Sizes(const Layer& layer)
        : hidden(layer.hidden_size),
          blocks((hidden + LANES - 1) / LANES),
          padded_hidden(blocks * LANES),
          axes(layer.axes),
          gates(layer.coupled ? 3 : 4),
          transforms(axes + (layer.depth ? 1 : 0)),
          operand(axes * padded_hidden + layer.input_size),
          operand_row(rounded_up(operand, 64)),
          activations(transforms * blocks * gates * LANES),
          gates_row(rounded_up(activations, 32)),
          panel(gates * LANES),
          sent(axes * padded_hidden) {}

    int64_t panels() const { return transforms * blocks; }
    int64_t rows() const { return transforms * gates * hidden; }  // of the parameters

    // Where a row of the parameters (transform, gate, unit) lies among a cell's activations.
    int64_t activation(int64_t transform, int64_t gate, int64_t unit) const {
        return ((transform * blocks + unit / LANES) * gates + gate) * LANES + unit % LANES;
    }
    // Of the WIDTH hidden units from one on, how many there are; the others fill up a block.
    int real(int64_t unit) const { return std::max<int64_t>(0, std::min<int64_t>(WIDTH, hidden - unit)); }
};

// Parameters of one set (direction and band) in the kernel's layout.
template <class Products>
struct Weights {
    using Number = typename Products::Number;
    Buffer<Number> forward;   // panels of (operand, panel)
    Buffer<float> bias;       // (activations)
    Buffer<Number> backward;  // panels of (activations, 64) that cover operand_row columns
    Buffer<float> peephole;   // (transforms, blocks, 3, LANES): of i, f, o; with coupled gates the first is not used
};

// Parameters as they are given, all float32; see `asr.grid.scan`.
struct Parameters {
    const float *weight_ih, *weight_hh, *bias, *peephole;
};

// Calls visit(row of the parameters, place among the activations).
template <class Visit>
void each_gate(const Sizes& sizes, Visit visit) {
    for (int64_t transform = 0; transform < sizes.transforms; ++transform)
        for (int64_t gate = 0; gate < sizes.gates; ++gate)
            for (int64_t unit = 0; unit < sizes.hidden; ++unit)
                visit((transform * sizes.gates + gate) * sizes.hidden + unit, sizes.activation(transform, gate, unit));
}

// Calls visit(place in the given peepholes, place in the kernel's own).
template <class Visit>
void each_peephole(const Sizes& sizes, Visit visit) {
    const int64_t kinds = sizes.gates - 1;
    for (int64_t transform = 0; transform < sizes.transforms; ++transform)
        for (int64_t kind = 0; kind < kinds; ++kind)
            for (int64_t unit = 0; unit < sizes.hidden; ++unit)
                visit((transform * kinds + kind) * sizes.hidden + unit,
                      ((transform * sizes.blocks + unit / LANES) * 3 + kind + 3 - kinds) * LANES + unit % LANES);
}

// Copies a row of parameters, with zeros behind it up to a multiple of WIDTH.
template <class Number>
void copy_row(const float* from, int64_t count, Number* to) {
    for (int64_t i = 0; i < count; i += WIDTH) store(to + i, load_part(from + i, std::min<int64_t>(WIDTH, count - i)));
}

template <class Products>
Weights<Products> packed(const Layer& layer, const Sizes& sizes, const Parameters& given, int64_t set, bool ahead, bool back) {
    using Number = typename Products::Number;
    const int64_t all = sizes.rows(), seen = sizes.axes * sizes.hidden, depth = rounded_up(sizes.operand, Products::DEPTH);
    Weights<Products> weights;
    weights.bias = Buffer<float>(sizes.activations);
    const Buffer<Number> rows(sizes.gates_row * sizes.operand_row);  // of each activation, as long as an operand
    each_gate(sizes, [&](int64_t row, int64_t place) {
        weights.bias[place] = given.bias[set * all + row];
        Number* to = rows + place * sizes.operand_row;
        for (int64_t axis = 0; axis < sizes.axes; ++axis)
            copy_row(given.weight_hh + (set * all + row) * seen + axis * sizes.hidden, sizes.hidden,
                     to + axis * sizes.padded_hidden);
        copy_row(given.weight_ih + (set * all + row) * layer.input_size, layer.input_size, to + sizes.sent);
    });
    if (ahead) {
        weights.forward = Buffer<Number>(sizes.activations * depth, Buffer<Number>::AS_IT_IS);
        for (int64_t place = 0; place < sizes.activations; place += LANES)
            Products::set_columns(rows + place * sizes.operand_row, sizes.operand_row, depth,
                                  weights.forward + place / sizes.panel * sizes.panel * depth, place % sizes.panel, sizes.panel);
    }
    if (back) {
        weights.backward = Buffer<Number>(sizes.gates_row * sizes.operand_row, Buffer<Number>::AS_IT_IS);
        for (int64_t column = 0; column < sizes.operand_row; column += 64)
            Products::set_rows(rows + column, sizes.operand_row, sizes.gates_row, weights.backward + column * sizes.gates_row);
    }
    if (given.peephole) {
        const int64_t count = sizes.transforms * (sizes.gates - 1) * sizes.hidden;
        weights.peephole = Buffer<float>(sizes.panels() * 3 * LANES);
        each_peephole(sizes, [&](int64_t from, int64_t to) { weights.peephole[to] = given.peephole[set * count + from]; });
    }
    return weights;
}

// Activations of WIDTH hidden units along one axis, and what follows from them; gates are LANES numbers apart. The memory
// of a GRU is its hidden vector, before that is rounded.
struct Cell {
    bool inside, coupled, gru, clipped;
    float clip;

    explicit Cell(const Layer& layer)
        : inside(layer.gate_inside), coupled(layer.coupled), gru(layer.gru), clipped(layer.clipped), clip(layer.clip) {}

    static Vector clamp(Vector x, float limit) {
        x = x > limit ? broadcast(limit) : x;
        return x < -limit ? broadcast(-limit) : x;
    }

    // From pre-activations `gates` (i,) f, g, o (of a GRU r, z and the candidate's shares of x and of the hidden vectors):
    // hands the activations to `keep(gate, activation)`, and returns the hidden vector, and the memory by reference.
    template <class Keep>
    Vector forward(const float* gates, Vector arriving, const float* peephole, Vector& memory, Keep keep) const {
        if (gru) {
            const Vector r = sigmoid(load(gates)), z = sigmoid(load(gates + LANES)), recurrent = load(gates + 3 * LANES);
            const Vector n = tanh(load(gates + 2 * LANES) + r * recurrent);
            keep(0, r);
            keep(1, z);
            keep(2, n);
            keep(3, recurrent);
            return memory = n + z * (arriving - n);
        }
        const int first = coupled ? 0 : 1;
        Vector i = load(gates), f = load(gates + first * LANES), o = load(gates + (first + 2) * LANES);
        const Vector g = tanh(load(gates + (first + 1) * LANES));
        if (peephole) {
            i += load(peephole) * arriving;
            f += load(peephole + LANES) * arriving;
        }
        f = sigmoid(f);
        i = coupled ? 1.0f - f : sigmoid(i);
        memory = f * arriving + i * g;
        if (clipped) memory = clamp(memory, clip);
        if (peephole) o += load(peephole + 2 * LANES) * memory;
        o = sigmoid(o);
        if (!coupled) keep(0, i);
        keep(first, f);
        keep(first + 1, g);
        keep(first + 2, o);
        return inside ? tanh(o * memory) : o * tanh(memory);
    }

    // Gradients of the outgoing pair -> of the pre-activations and of the arriving memory, which is returned.
    template <class Kept, class Number>
    Vector backward(const Kept* gates, Vector arriving, Vector memory, Vector d_hidden, Vector d_memory,
                    const float* peephole, Number* d_gates, float* d_peephole) const {
        if (gru) {
            const Vector r = load(gates), z = load(gates + LANES), n = load(gates + 2 * LANES), d = d_hidden + d_memory;
            const Vector d_n = d * (1.0f - z) * (1.0f - n * n);
            store(d_gates, d_n * load(gates + 3 * LANES) * r * (1.0f - r));
            store(d_gates + LANES, d * (arriving - n) * z * (1.0f - z));
            store(d_gates + 2 * LANES, d_n);
            store(d_gates + 3 * LANES, d_n * r);
            return d * z;
        }
        const Kept* at = gates + (coupled ? 0 : LANES);
        const Vector f = load(at), g = load(at + LANES), o = load(at + 2 * LANES);
        const Vector i = coupled ? 1.0f - f : load(gates);
        Vector d_o;
        if (inside) {
            const Vector h = tanh(o * memory), d = d_hidden * (1.0f - h * h);
            d_o = d * memory * o * (1.0f - o);
            d_memory += d * o;
        } else {
            const Vector t = tanh(memory);
            d_o = d_hidden * t * o * (1.0f - o);
            d_memory += d_hidden * o * (1.0f - t * t);
        }
        if (peephole) d_memory += d_o * load(peephole + 2 * LANES);
        if (clipped) {
            d_memory = memory >= clip ? Vector{} : d_memory;
            d_memory = memory <= -clip ? Vector{} : d_memory;
        }
        const Vector d_i = coupled ? Vector{} : d_memory * g * i * (1.0f - i);
        const Vector d_f = d_memory * (coupled ? arriving - g : arriving) * f * (1.0f - f);
        Vector d_arriving = d_memory * f;
        if (peephole) {
            d_arriving += d_i * load(peephole) + d_f * load(peephole + LANES);
            store(d_peephole, load(d_peephole) + d_i * arriving);
            store(d_peephole + LANES, load(d_peephole + LANES) + d_f * arriving);
            store(d_peephole + 2 * LANES, load(d_peephole + 2 * LANES) + d_o * memory);
        }
        Number* to = d_gates + (coupled ? 0 : LANES);
        if (!coupled) store(d_gates, d_i);
        store(to, d_f);
        store(to + LANES, d_memory * i * (1.0f - g * g));
        store(to + 2 * LANES, d_o);
        return d_arriving;
    }
};

// Tensors of a layer, natural order, C-contiguous; X is float or BFloat16.
template <class X>
struct Tensors {
    const X* inputs;                      // (batch, cells, input_size)
    const float *hidden_0, *memory_0;     // (directions, batch, columns, hidden_size), or null
    X* hidden;                            // (batch, cells, directions, axes * hidden_size)
    float* last_memory;                   // (directions, batch, columns, hidden_size)
    float* memory;                        // (batch, cells, directions, axes * hidden_size), or null
    X* gates;                             // (batch, cells, directions, activations), or null
    const float* depth_before;            // memory along depth that arrives, (batch, cells, directions, hidden_size)
    X* depth_hidden;                      // what leaves along depth, likewise
    float* depth_memory;
};

template <class X>
struct Gradients {
    const X* hidden;           // of the outputs
    const float* last_memory;  // likewise
    X* inputs;                 // (parts, batch, cells, input_size): a part for each set of directions that run side by side
    float *hidden_0, *memory_0;
    const X* depth_hidden;
    const float* depth_memory;
    float* depth_before;
};

// Sums of a task, per band: (operand, activations), (activations), (transforms, blocks, 3, LANES).
struct WeightGradients {
    std::vector<Buffer<float>> products, bias, peephole;
};

// What both ways share: the rows of the present step and of the one visited before.
template <class X, class Products>
class Scan {
   protected:
    using Number = typename Products::Number;
    const Layer& layer;
    const Sizes& sizes;
    const Tensors<X>& tensors;
    const Weights<Products>* weights;  // of the direction, one a band
    const int64_t direction;
    const Cell cell;
    const std::vector<Column> columns;
    const int64_t steps;
    Step now, other;
    Buffer<float> zeros;

    Scan(const Layer& layer, const Sizes& sizes, const Tensors<X>& tensors, const Weights<Products>* weights, int64_t direction,
         const std::vector<int64_t>& utterances)
        : layer(layer),
          sizes(sizes),
          tensors(tensors),
          weights(weights + direction * layer.bands),
          direction(direction),
          cell(layer),
          columns(columns_of(layer, utterances, layer.backward + direction * layer.axes)),
          steps(steps_of(columns)),
          zeros(sizes.padded_hidden) {}

    int64_t rows() const { return columns.size(); }

    // A cell's place in tensors with an entry a direction.
    int64_t entry(int64_t cell) const { return cell * layer.directions + direction; }

    // A column's place in what enters and leaves along the first axis.
    int64_t border(const Column& column) const {
        return (direction * layer.batch * layer.columns() + column.border) * sizes.hidden;
    }

    // The column that a row's cell hears from along an axis, or -1 at the border.
    int32_t heard(int32_t column, int64_t axis, int64_t step) const {
        if (axis > 0) return columns[column].before[axis];
        return step > columns[column].delay ? column : -1;
    }

    // Likewise the one that it sends to.
    int32_t told(int32_t column, int64_t axis, int64_t step) const {
        if (axis > 0) return columns[column].after[axis];
        return step + 1 < columns[column].delay + columns[column].steps ? column : -1;
    }

    void copy_input(int64_t cell, Number* operand) const {
        const X* input = tensors.inputs + cell * layer.input_size;
        for (int64_t i = 0; i < layer.input_size; i += WIDTH) {
            const Vector x = load_part(input + i, std::min<int64_t>(WIDTH, layer.input_size - i));
            // A GRU has weights of zero: infinite times these was NaN, and the greatest number saturates gates as well.
            store(operand + sizes.sent + i, layer.gru ? Cell::clamp(x, GREATEST) : x);
        }
    }

    // `hidden` is padded (hidden_size of it real) when it comes from a scan's own rows.
    template <class From, class To>
    void copy_hidden(const From* hidden, To* to, bool whole) const {
        for (int64_t unit = 0; unit < sizes.padded_hidden; unit += WIDTH)
            store(to + unit, whole ? load(hidden + unit) : load_part(hidden + unit, sizes.real(unit)));
    }

    // Those that enter the scan are rounded as its own are: a sequence in pieces gives what it gives as a whole.
    template <class To>
    void copy_entering(const float* hidden, To* to) const {
        X own[WIDTH];
        for (int64_t unit = 0; unit < sizes.padded_hidden; unit += WIDTH) {
            store(own, load_part(hidden + unit, sizes.real(unit)));
            store(to + unit, load(own));
        }
    }

    // A panel of the pre-activations of up to Products::ROWS rows.
    void pre_activations(const Weights<Products>& own, int64_t panel, const Number* operands, int count, float* to) const {
        const int64_t depth = rounded_up(sizes.operand, Products::DEPTH);
        Products::rows(count, sizes.panel, depth, operands, sizes.operand_row, own.forward + panel * sizes.panel * depth,
                       sizes.panel, own.bias + panel * sizes.panel, to, sizes.panel);
        const int64_t unit = panel % sizes.blocks * LANES;
        if (unit + LANES > sizes.hidden) clear_filling(unit, count, to);
    }

    // Zeros in the lanes that fill up the last block: infinite times their weights of zero was NaN, which would go on to
    // all hidden units of the next cell.
    void clear_filling(int64_t unit, int count, float* gates) const {
        for (int64_t at = 0; at < count * sizes.panel; at += WIDTH) {
            const int real = sizes.real(unit + at % LANES);
            if (real < WIDTH) store(gates + at, first_lanes(load(gates + at), real));
        }
    }
};

template <class X, class Products>
class Forward : Scan<X, Products> {
    using Base = Scan<X, Products>;
    using typename Base::Number;
    Buffer<Number> operands;         // of the rows of a step
    Buffer<X> hidden[2];             // (rows, sent), of this step and the one before
    Buffer<float> memory[2];
    std::vector<const float*> arriving;  // (rows, axes): memory that a row's cell hears

   public:
    Forward(const Layer& layer, const Sizes& sizes, const Tensors<X>& tensors, const Weights<Products>* weights, int64_t direction,
            const std::vector<int64_t>& utterances)
        : Base(layer, sizes, tensors, weights, direction, utterances),
          operands((this->rows() + Products::ROWS) * sizes.operand_row),
          hidden{Buffer<X>(this->rows() * sizes.sent), Buffer<X>(this->rows() * sizes.sent)},
          memory{Buffer<float>(this->rows() * sizes.sent), Buffer<float>(this->rows() * sizes.sent)},
          arriving(this->rows() * sizes.axes) {}

    void run() {
        Buffer<float> entering(this->tensors.memory_0 ? this->rows() * this->sizes.padded_hidden : 0);
        for (int64_t step = 0; step < this->steps; ++step) {
            this->other = this->now;
            this->now.set(step, this->columns, this->layer.bands);
            pack(step, entering);
            for (int64_t band = 0; band < this->layer.bands; ++band) compute(step, band);
        }
    }

   private:
    void pack(int64_t step, float* entering) {
        const int last = (step + 1) % 2;
        const Sizes& sizes = this->sizes;
        for (size_t row = 0; row < this->now.column.size(); ++row) {
            const int32_t c = this->now.column[row];
            Number* operand = operands + row * sizes.operand_row;
            for (int64_t axis = 0; axis < sizes.axes; ++axis) {
                const int32_t from = this->heard(c, axis, step);
                Number* to = operand + axis * sizes.padded_hidden;
                const float*& remembered = arriving[row * sizes.axes + axis];
                if (from >= 0) {
                    const int64_t at = this->other.row[from] * sizes.sent + axis * sizes.padded_hidden;
                    this->copy_hidden(hidden[last] + at, to, true);
                    remembered = memory[last] + at;
                    continue;
                }
                const int64_t border = this->border(this->columns[c]);
                remembered = this->zeros;
                if (axis == 0 && this->tensors.hidden_0)
                    this->copy_entering(this->tensors.hidden_0 + border, to);
                else
                    std::memset(to, 0, sizes.padded_hidden * sizeof(Number));
                if (axis == 0 && this->tensors.memory_0) {
                    float* own = entering + c * sizes.padded_hidden;
                    this->copy_hidden(this->tensors.memory_0 + border, own, false);
                    remembered = own;
                }
            }
            this->copy_input(this->now.cell[row], operand);
            if (this->told(c, 0, step) >= 0) fetch_input(this->now.cell[row] + this->columns[c].stride);
        }
    }

    void fetch_input(int64_t cell) const {
        const X* input = this->tensors.inputs + cell * this->layer.input_size;
        for (int64_t i = 0; i < this->layer.input_size; i += 64 / sizeof(X)) __builtin_prefetch(input + i);
    }

    void compute(int64_t step, int64_t band) {
        const Sizes& sizes = this->sizes;
        const Weights<Products>& own = this->weights[band];
        const int64_t stop = this->now.band_starts[band + 1];
        alignas(64) float gates[Products::ROWS * 4 * LANES];
        for (int64_t panel = 0; panel < sizes.panels(); ++panel) {
            const float* peephole = own.peephole ? own.peephole + panel * 3 * LANES : nullptr;
            for (int64_t row = this->now.band_starts[band], count; row < stop; row += count) {
                count = even_part<Products>(stop - row);
                this->pre_activations(own, panel, operands + row * sizes.operand_row, count, gates);
                for (int r = 0; r < count; ++r)
                    for (int lane = 0; lane < LANES; lane += WIDTH)
                        activate(step, row + r, panel, lane, gates + r * sizes.panel + lane, peephole ? peephole + lane : nullptr);
            }
        }
    }

    void activate(int64_t step, int64_t row, int64_t panel, int lane, const float* gates, const float* peephole) {
        const Sizes& sizes = this->sizes;
        const Tensors<X>& tensors = this->tensors;
        const int64_t transform = panel / sizes.blocks, unit = panel % sizes.blocks * LANES + lane;
        const int64_t entry = this->entry(this->now.cell[row]);
        const int real = sizes.real(unit);
        const bool depth = transform == sizes.axes;
        const int64_t along_depth = entry * sizes.hidden + unit;
        const Vector before = depth ? load_part(tensors.depth_before + along_depth, real)
                                    : load(arriving[row * sizes.axes + transform] + unit);
        Vector h, after;
        if (tensors.gates) {
            X* kept = tensors.gates + entry * sizes.activations + panel * sizes.panel + lane;
            h = this->cell.forward(gates, before, peephole, after, [kept](int gate, Vector x) { stream(kept + gate * LANES, x); });
        } else {
            h = this->cell.forward(gates, before, peephole, after, [](int, Vector) {});
        }
        if (depth) {
            put(tensors.depth_hidden + along_depth, h, real);
            put(tensors.depth_memory + along_depth, after, real);
            return;
        }
        const int64_t at = row * sizes.sent + transform * sizes.padded_hidden + unit;
        const int64_t natural = (entry * sizes.axes + transform) * sizes.hidden + unit;
        store(hidden[step % 2] + at, h);
        store(memory[step % 2] + at, after);
        put(tensors.hidden + natural, h, real);
        if (tensors.memory) put(tensors.memory + natural, after, real);
        const int32_t c = this->now.column[row];
        if (transform == 0 && this->told(c, 0, step) < 0)
            store_part(tensors.last_memory + this->border(this->columns[c]) + unit, after, real);
    }

    // Past the caches where that is possible: this pass does not read it again.
    template <class Number>
    static void put(Number* to, Vector x, int real) {
        if (real == WIDTH && reinterpret_cast<uintptr_t>(to) % (WIDTH * 4) == 0)
            stream(to, x);
        else
            store_part(to, x, real);
    }
};

template <class X, class Products>
class Backward : Scan<X, Products> {
    using Base = Scan<X, Products>;
    using typename Base::Number;
    const Gradients<X>& gradients;
    X* const d_inputs;
    const bool add_inputs;
    WeightGradients& sums;
    const int64_t capacity;                       // rows of a band's share of the two buffers below
    Buffer<Number> operands, d_gates;             // of the rows whose share in the gradients of the weights is due
    std::vector<int64_t> due;                     // per band
    Buffer<float> d_operands[2];                  // (rows, operand_row), of this step and the one visited before
    Buffer<float> d_memory[2];                    // (rows, sent)
    Buffer<float> activations;                    // of a row, where they are computed again

   public:
    Backward(const Layer& layer, const Sizes& sizes, const Tensors<X>& tensors, const Gradients<X>& gradients, X* d_inputs,
             bool add_inputs, const Weights<Products>* weights, int64_t direction, const std::vector<int64_t>& utterances,
             WeightGradients& sums)
        : Base(layer, sizes, tensors, weights, direction, utterances),
          gradients(gradients),
          d_inputs(d_inputs),
          add_inputs(add_inputs),
          sums(sums),
          capacity(Products::FLUSH + this->rows() + 32),
          operands(layer.bands * capacity * sizes.operand_row),
          d_gates(layer.bands * capacity * sizes.gates_row),
          due(layer.bands),
          d_operands{Buffer<float>((this->rows() + Products::ROWS) * sizes.operand_row),
                     Buffer<float>((this->rows() + Products::ROWS) * sizes.operand_row)},
          d_memory{Buffer<float>(this->rows() * sizes.sent), Buffer<float>(this->rows() * sizes.sent)},
          activations(Products::ROWS * sizes.panel) {}

    void run() {
        for (int64_t step = this->steps - 1; step >= 0; --step) {
            this->other = this->now;
            this->now.set(step, this->columns, this->layer.bands);
            for (int64_t band = 0; band < this->layer.bands; ++band) {
                const int64_t start = this->now.band_starts[band], stop = this->now.band_starts[band + 1];
                Number* own_operands = operands + (band * capacity + due[band]) * this->sizes.operand_row;
                Number* own_gates = d_gates + (band * capacity + due[band]) * this->sizes.gates_row;
                pack(step, start, stop, own_operands);
                differentiate(step, band, start, stop, own_operands, own_gates);
                send(step, band, start, stop, own_gates);
                due[band] += stop - start;
                if (due[band] >= Products::FLUSH || step == 0) flush(band);
            }
        }
    }

   private:
    // The cell before a row's cell along an axis, as a row of (batch, cells), or -1 at the border.
    int64_t cell_before(int64_t row, int64_t axis, int64_t step) const {
        const int32_t c = this->now.column[row], from = this->heard(c, axis, step);
        if (from < 0) return -1;
        if (axis == 0) return this->now.cell[row] - this->columns[c].stride;
        return this->now.cell[row] + this->columns[from].first - this->columns[c].first;
    }

    void pack(int64_t step, int64_t start, int64_t stop, Number* own) const {
        const Sizes& sizes = this->sizes;
        for (int64_t row = start; row < stop; ++row) {
            Number* operand = own + (row - start) * sizes.operand_row;
            for (int64_t axis = 0; axis < sizes.axes; ++axis) {
                const int64_t from = cell_before(row, axis, step);
                Number* to = operand + axis * sizes.padded_hidden;
                if (from >= 0)
                    this->copy_hidden(this->tensors.hidden + (this->entry(from) * sizes.axes + axis) * sizes.hidden, to, false);
                else if (axis == 0 && this->tensors.hidden_0)
                    this->copy_entering(this->tensors.hidden_0 + this->border(this->columns[this->now.column[row]]), to);
                else
                    std::memset(to, 0, sizes.padded_hidden * sizeof(Number));
            }
            this->copy_input(this->now.cell[row], operand);
        }
    }

    const float* memory_before(int64_t row, int64_t axis, int64_t step) const {
        const int64_t from = cell_before(row, axis, step);
        if (from >= 0) return this->tensors.memory + (this->entry(from) * this->sizes.axes + axis) * this->sizes.hidden;
        if (axis == 0 && this->tensors.memory_0)
            return this->tensors.memory_0 + this->border(this->columns[this->now.column[row]]);
        return this->zeros;
    }

    void differentiate(int64_t step, int64_t band, int64_t start, int64_t stop, const Number* own_operands, Number* own_gates) {
        const Sizes& sizes = this->sizes;
        if (this->tensors.gates) {  // a row's activations lie side by side
            for (int64_t row = start; row < stop; ++row) {
                fetch(row + 2);
                for (int64_t panel = 0; panel < sizes.panels(); ++panel)
                    for (int lane = 0; lane < LANES; lane += WIDTH)
                        differentiate_row(step, band, row, panel, lane, nullptr,
                                          own_gates + (row - start) * sizes.gates_row + panel * sizes.panel + lane);
            }
            return;
        }
        for (int64_t panel = 0; panel < sizes.panels(); ++panel)
            for (int64_t row = start, count; row < stop; row += count) {
                count = even_part<Products>(stop - row);
                this->pre_activations(this->weights[band], panel, own_operands + (row - start) * sizes.operand_row, count,
                                      activations);
                for (int r = 0; r < count; ++r)
                    for (int lane = 0; lane < LANES; lane += WIDTH)
                        differentiate_row(step, band, row + r, panel, lane, activations + r * sizes.panel + lane,
                                          own_gates + (row + r - start) * sizes.gates_row + panel * sizes.panel + lane);
            }
    }

    // Fetches a row's activations into the cache before they are needed.
    void fetch(size_t row) const {
        if (row >= this->now.cell.size()) return;
        const X* gates = this->tensors.gates + this->entry(this->now.cell[row]) * this->sizes.activations;
        for (int64_t at = 0; at < this->sizes.activations; at += 64 / sizeof(X)) __builtin_prefetch(gates + at);
    }

    void differentiate_row(int64_t step, int64_t band, int64_t row, int64_t panel, int lane, float* again, Number* own_gates) {
        const Sizes& sizes = this->sizes;
        const int64_t transform = panel / sizes.blocks, unit = panel % sizes.blocks * LANES + lane;
        const int real = sizes.real(unit);
        const int32_t c = this->now.column[row];
        const int64_t entry = this->entry(this->now.cell[row]);
        const bool depth = transform == sizes.axes;
        const int64_t along_depth = entry * sizes.hidden + unit, at = transform * sizes.padded_hidden + unit;
        Vector d_h, d_m{}, before, memory;
        if (depth) {
            d_h = load_part(gradients.depth_hidden + along_depth, real);
            d_m = load_part(gradients.depth_memory + along_depth, real);
            before = load_part(this->tensors.depth_before + along_depth, real);
            memory = load_part(this->tensors.depth_memory + along_depth, real);
        } else {
            const int64_t natural = (entry * sizes.axes + transform) * sizes.hidden + unit;
            const int32_t to = this->told(c, transform, step);
            const int last = (step + 1) % 2;
            d_h = load_part(gradients.hidden + natural, real);
            if (to >= 0) {
                const int64_t there = this->other.row[to];
                d_h += load(d_operands[last] + there * sizes.operand_row + at);
                d_m = load(d_memory[last] + there * sizes.sent + at);
            } else if (transform == 0) {
                d_m = load_part(gradients.last_memory + this->border(this->columns[c]) + unit, real);
            }
            before = load_part(memory_before(row, transform, step) + unit, real);
            memory = load_part(this->tensors.memory + natural, real);
        }
        const Buffer<float>& peepholes = this->weights[band].peephole;
        const float* peephole = peepholes ? peepholes + panel * 3 * LANES + lane : nullptr;
        float* d_peephole = peephole ? sums.peephole[band] + panel * 3 * LANES + lane : nullptr;
        Vector d_before;
        if (this->tensors.gates) {
            const X* gates = this->tensors.gates + entry * sizes.activations + panel * sizes.panel + lane;
            d_before = this->cell.backward(gates, before, memory, d_h, d_m, peephole, own_gates, d_peephole);
        } else {
            Vector same;
            this->cell.forward(again, before, peephole, same, [again](int gate, Vector x) { store(again + gate * LANES, x); });
            d_before = this->cell.backward(again, before, memory, d_h, d_m, peephole, own_gates, d_peephole);
        }
        if (depth) return store_part(gradients.depth_before + along_depth, d_before, real);
        store(d_memory[step % 2] + row * sizes.sent + at, d_before);
        if (transform == 0 && gradients.memory_0 && this->heard(c, 0, step) < 0)
            store_part(gradients.memory_0 + this->border(this->columns[c]) + unit, d_before, real);
    }

    // Gradients of the operands, and from them those of the inputs and of what entered along the first axis.
    void send(int64_t step, int64_t band, int64_t start, int64_t stop, const Number* own_gates) {
        const Sizes& sizes = this->sizes;
        float* own = d_operands[step % 2];
        for (int64_t column = 0; column < sizes.operand; column += 64) {
            const Number* panel = this->weights[band].backward + column * sizes.gates_row;
            const int width = std::min<int64_t>(64, rounded_up(sizes.operand - column, LANES));
            for (int64_t row = start, count; row < stop; row += count) {
                count = even_part<Products>(stop - row);
                Products::rows(count, width, sizes.gates_row, own_gates + (row - start) * sizes.gates_row, sizes.gates_row,
                               panel, 64, nullptr, own + row * sizes.operand_row + column, sizes.operand_row);
            }
        }
        for (int64_t row = start; row < stop; ++row) {
            const float* operand = own + row * sizes.operand_row;
            X* input = d_inputs + this->now.cell[row] * this->layer.input_size;
            for (int64_t i = 0; i < this->layer.input_size; i += WIDTH) {
                const int real = std::min<int64_t>(WIDTH, this->layer.input_size - i);
                const Vector d = load(operand + sizes.sent + i);
                store_part(input + i, add_inputs ? d + load_part(input + i, real) : d, real);
            }
            const int32_t c = this->now.column[row];
            if (!gradients.hidden_0 || this->heard(c, 0, step) >= 0) continue;
            for (int64_t unit = 0; unit < sizes.padded_hidden; unit += WIDTH)
                store_part(gradients.hidden_0 + this->border(this->columns[c]) + unit, load(operand + unit), sizes.real(unit));
        }
    }

    // Adds the due rows' share to the gradients of the weights.
    void flush(int64_t band) {
        const Sizes& sizes = this->sizes;
        Number* rows = operands + band * capacity * sizes.operand_row;
        Number* d_rows = d_gates + band * capacity * sizes.gates_row;
        for (int64_t column = 0; column < sizes.activations; column += WIDTH) {
            Vector sum = load(sums.bias[band] + column);
            for (int64_t row = 0; row < due[band]; ++row) sum += load(d_rows + row * sizes.gates_row + column);
            store(sums.bias[band] + column, sum);
        }
        Products::outer(due[band], sizes.operand, sizes.activations, sizes.panel, rows, sizes.operand_row, d_rows,
                        sizes.gates_row, sums.products[band], sizes.activations);
        due[band] = 0;
    }
};

// Utterances (and directions) that one thread takes through the scan.
struct Task {
    int64_t direction;
    std::vector<int64_t> utterances;
};

// One round a direction with the utterances divided among the threads; or, where there are fewer utterances than
// threads, one round with a task for each utterance and direction.
std::vector<std::vector<Task>> divided(const Layer& layer, int64_t threads) {
    std::vector<std::vector<Task>> rounds;
    if (layer.batch < threads) {
        rounds.emplace_back();
        for (int64_t d = 0; d < layer.directions; ++d)
            for (int64_t u = 0; u < layer.batch; ++u) rounds[0].push_back({d, {u}});
        return rounds;
    }
    std::vector<int64_t> order(layer.batch), load(threads);
    for (int64_t u = 0; u < layer.batch; ++u) order[u] = u;
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return layer.own_cells(a) > layer.own_cells(b); });
    std::vector<std::vector<int64_t>> groups(threads);
    for (int64_t u : order) {
        const int64_t lightest = std::min_element(load.begin(), load.end()) - load.begin();
        groups[lightest].push_back(u);
        load[lightest] += layer.own_cells(u);
    }
    for (int64_t d = 0; d < layer.directions; ++d) {
        rounds.emplace_back();
        for (const auto& group : groups)
            if (!group.empty()) rounds.back().push_back({d, group});
    }
    return rounds;
}

// Carries an exhausted memory out of a parallel region, which an exception must not leave.
class Failure {
    bool failed_ = false;

   public:
    template <class Run>
    void watch(Run run) try {
        run();
    } catch (const std::bad_alloc&) {
#pragma omp atomic write
        failed_ = true;
    }
    void rethrow() const {
        if (failed_) throw std::bad_alloc();
    }
};

// Zeros at the padded cells of a tensor (batch, cells, width).
template <class Number>
void clear_padding(const Layer& layer, Number* tensor, int64_t width) {
#pragma omp parallel for
    for (int64_t u = 0; u < layer.batch; ++u) {
        if (layer.own_cells(u) == layer.cells()) continue;
        for (int64_t cell = 0; cell < layer.cells(); ++cell) {
            int64_t rest = cell;
            bool padded = false;
            for (int64_t a = layer.axes - 1; a >= 0; --a) {
                padded |= rest % layer.extents[a] >= layer.lengths[u * layer.axes + a];
                rest /= layer.extents[a];
            }
            if (padded) std::memset(tensor + (u * layer.cells() + cell) * width, 0, width * sizeof(Number));
        }
    }
}

template <class Products>
std::vector<Weights<Products>> all_packed(const Layer& layer, const Sizes& sizes, const Parameters& given, bool ahead,
                                          bool back, int threads) {
    std::vector<Weights<Products>> weights(layer.directions * layer.bands);
    Failure failure;
#pragma omp parallel for num_threads(threads)
    for (size_t set = 0; set < weights.size(); ++set)
        failure.watch([&] { weights[set] = packed<Products>(layer, sizes, given, set, ahead, back); });
    failure.rethrow();
    return weights;
}

template <class X, class Products>
void forward(const Layer& layer, const Parameters& given, const Tensors<X>& tensors, int threads) {
    const Sizes sizes(layer);
    const auto weights = all_packed<Products>(layer, sizes, given, true, false, threads);
    std::vector<Task> tasks;
    for (auto& round : divided(layer, threads)) tasks.insert(tasks.end(), round.begin(), round.end());
    clear_padding(layer, tensors.hidden, layer.directions * sizes.axes * sizes.hidden);
    if (tensors.memory) clear_padding(layer, tensors.memory, layer.directions * sizes.axes * sizes.hidden);
    if (tensors.gates) clear_padding(layer, tensors.gates, layer.directions * sizes.activations);
    if (layer.depth) {
        clear_padding(layer, tensors.depth_hidden, layer.directions * sizes.hidden);
        clear_padding(layer, tensors.depth_memory, layer.directions * sizes.hidden);
    }
    Failure failure;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (size_t task = 0; task < tasks.size(); ++task)
        failure.watch([&] {
            [[maybe_unused]] const typename Products::Working working;
            Forward<X, Products>(layer, sizes, tensors, weights.data(), tasks[task].direction, tasks[task].utterances).run();
        });
    failure.rethrow();
}

struct ParameterGradients {
    float *weight_ih, *weight_hh, *bias, *peephole;
};

// Adds columns of sums, which are `from_row` apart and begin at a block of LANES activations, to rows of a gradient.
void add_columns(const float* from, int64_t from_row, int64_t columns, int64_t rows, float* to, int64_t to_row) {
    alignas(64) float turned[LANES * LANES];
    for (int64_t column = 0; column < columns; column += LANES) {
        transpose(reinterpret_cast<const Bits*>(from + column * from_row), from_row, reinterpret_cast<Bits*>(turned), LANES);
        for (int64_t row = 0; row < rows; ++row)
            for (int lane = 0; lane < LANES; lane += WIDTH) {
                const int real = std::max<int64_t>(0, std::min<int64_t>(WIDTH, columns - column - lane));
                float* sum = to + row * to_row + column + lane;
                store_part(sum, load_part(sum, real) + load(turned + row * LANES + lane), real);
            }
    }
}

void unpack(const Layer& layer, const Sizes& sizes, int64_t set, const std::vector<WeightGradients>& all, int64_t band,
            const ParameterGradients& out) {
    const int64_t rows = sizes.rows(), seen = sizes.axes * sizes.hidden;
    const int64_t peepholes = sizes.transforms * (sizes.gates - 1) * sizes.hidden;
    for (const WeightGradients& sums : all) {
        const float* products = sums.products[band];
        each_gate(sizes, [&](int64_t row, int64_t place) {
            out.bias[set * rows + row] += sums.bias[band][place];
            if (place % LANES) return;  // the weights of a block of units at once
            const int64_t units = std::min<int64_t>(LANES, sizes.hidden - row % sizes.hidden), first = set * rows + row;
            for (int64_t axis = 0; axis < sizes.axes; ++axis)
                add_columns(products + axis * sizes.padded_hidden * sizes.activations + place, sizes.activations, sizes.hidden,
                            units, out.weight_hh + first * seen + axis * sizes.hidden, seen);
            add_columns(products + sizes.sent * sizes.activations + place, sizes.activations, layer.input_size, units,
                        out.weight_ih + first * layer.input_size, layer.input_size);
        });
        if (out.peephole)
            each_peephole(sizes,
                          [&](int64_t to, int64_t from) { out.peephole[set * peepholes + to] += sums.peephole[band][from]; });
    }
}

template <class X, class Products>
void backward(const Layer& layer, const Parameters& given, const Tensors<X>& tensors, const Gradients<X>& gradients,
              const ParameterGradients& out, int threads) {
    const Sizes sizes(layer);
    const auto weights = all_packed<Products>(layer, sizes, given, !tensors.gates, true, threads);
    const bool apart = layer.batch < threads;  // directions run side by side
    const int64_t inputs = layer.batch * layer.cells() * layer.input_size;
    for (int64_t part = 0; part < (apart ? layer.directions : 1); ++part)
        clear_padding(layer, gradients.inputs + part * inputs, layer.input_size);
    if (layer.depth) clear_padding(layer, gradients.depth_before, layer.directions * sizes.hidden);
    for (const std::vector<Task>& round : divided(layer, threads)) {
        std::vector<WeightGradients> sums(round.size());
        Failure failure;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
        for (size_t task = 0; task < round.size(); ++task)
            failure.watch([&] {
                for (int64_t band = 0; band < layer.bands; ++band) {
                    sums[task].products.emplace_back(rounded_up(sizes.operand, 16) * sizes.activations);
                    sums[task].bias.emplace_back(sizes.activations);
                    sums[task].peephole.emplace_back(sizes.panels() * 3 * LANES);
                }
                const int64_t direction = round[task].direction;
                [[maybe_unused]] const typename Products::Working working;
                Backward<X, Products>(layer, sizes, tensors, gradients, gradients.inputs + (apart ? direction * inputs : 0),
                                      !apart && direction > 0, weights.data(), direction, round[task].utterances, sums[task])
                    .run();
            });
        failure.rethrow();
        for (int64_t direction = 0; direction < layer.directions; ++direction) {
            std::vector<WeightGradients> own;
            for (size_t task = 0; task < round.size(); ++task)
                if (round[task].direction == direction) own.push_back(std::move(sums[task]));
            for (int64_t band = 0; band < layer.bands; ++band)
                unpack(layer, sizes, direction * layer.bands + band, own, band, out);
        }
    }
}

// Calls run(number type, products) in a way of products; see `Way`.
template <class Run>
int with_products(int way, Run run) try {
    switch (way == FASTEST ? fastest_way() : way) {
        case FLOAT32: run(float{}, FloatProducts{}); return 0;
        case WIDENED: run(BFloat16{}, FloatProducts{}); return 0;
#if defined(GRID_HAS_PAIRS)
        case PAIRS: run(BFloat16{}, PairProducts{}); return 0;
#endif
#if defined(GRID_HAS_TILES)
        case TILES:
            if (!tiles_allowed()) return 2;
            run(BFloat16{}, TileProducts{});
            return 0;
#endif
        default: return 2;
    }
} catch (const std::bad_alloc&) {
    return 1;
}

}  // namespace grid

// The interface: pointers to contiguous tensors, in the order of `asr/grid/native/kernel.py`, and the way of products.
// Returns 0, 1 without memory, or 2 where the processor has no such way.
extern "C" int grid_scan_forward(const grid::Layer* layer, const grid::Parameters* given, const void* tensors, int way,
                                 int threads) {
    return grid::with_products(way, [&](auto number, auto products) {
        using X = decltype(number);
        grid::forward<X, decltype(products)>(*layer, *given, *static_cast<const grid::Tensors<X>*>(tensors), threads);
    });
}

extern "C" int grid_scan_backward(const grid::Layer* layer, const grid::Parameters* given, const void* tensors,
                                  const void* gradients, const grid::ParameterGradients* out, int way, int threads) {
    return grid::with_products(way, [&](auto number, auto products) {
        using X = decltype(number);
        grid::backward<X, decltype(products)>(*layer, *given, *static_cast<const grid::Tensors<X>*>(tensors),
                                              *static_cast<const grid::Gradients<X>*>(gradients), *out, threads);
    });
}

// The way that is the fastest for bfloat16 on this processor.
extern "C" int grid_scan_fastest_way() { return grid::fastest_way(); }
