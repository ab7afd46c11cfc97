// Which cells a scan visits in which step, for some utterances and one direction.
//
// A column is one utterance's cells with the same coordinates along all axes but the first: the scan goes through it from
// its first real cell to its last, one cell a step, beginning `delay` steps late (the sum of its other coordinates).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace grid {

constexpr int MAX_AXES = 8;

// Sizes and options of a layer; see `asr.grid.scan` for the tensors.
struct Layer {
    int64_t batch, axes, directions, bands, input_size, hidden_size;
    const int64_t* extents;   // (axes)
    const int64_t* lengths;   // (batch, axes)
    const uint8_t* backward;  // (directions, axes)
    int32_t gate_inside, coupled, gru, clipped, depth;  // depth: an LSTM along depth, besides those of the axes
    float clip;

    int64_t cells() const {
        int64_t count = 1;
        for (int64_t a = 0; a < axes; ++a) count *= extents[a];
        return count;
    }
    int64_t columns() const { return cells() / extents[0]; }
    int64_t own_cells(int64_t utterance) const {
        int64_t count = 1;
        for (int64_t a = 0; a < axes; ++a) count *= lengths[utterance * axes + a];
        return count;
    }
};

struct Column {
    int64_t first;   // its first visited cell, as a row of (batch, cells)
    int64_t stride;  // rows from one visited cell to the next
    int64_t border;  // its row in what enters and leaves along the first axis, (batch, columns)
    int32_t steps, delay, band;
    int32_t before[MAX_AXES], after[MAX_AXES];  // the columns of the neighbours along each axis but the first, or -1
};

inline void append_columns(const Layer& layer, int64_t utterance, const uint8_t* backward, std::vector<Column>& columns) {
    const int64_t* lengths = layer.lengths + utterance * layer.axes;
    const int32_t start = columns.size();
    int64_t own = 1;
    for (int64_t a = 1; a < layer.axes; ++a) own *= lengths[a];
    const int64_t stride = layer.columns();
    for (int64_t number = 0; number < own; ++number) {
        Column column{};
        int64_t rest = number, natural = 0, place = 1;
        int32_t apart = 1;
        for (int64_t a = layer.axes - 1; a > 0; --a) {
            const int64_t at = rest % lengths[a], seen = backward[a] ? lengths[a] - 1 - at : at;
            rest /= lengths[a];
            column.delay += at;
            column.before[a] = at > 0 ? start + int32_t(number) - apart : -1;
            column.after[a] = at + 1 < lengths[a] ? start + int32_t(number) + apart : -1;
            if (a == layer.axes - 1) column.band = seen * layer.bands / layer.extents[a];
            natural += seen * place;
            place *= layer.extents[a];
            apart *= lengths[a];
        }
        column.steps = lengths[0];
        column.stride = backward[0] ? -stride : stride;
        column.first = utterance * layer.cells() + natural + (backward[0] ? (lengths[0] - 1) * stride : 0);
        column.border = utterance * stride + natural;
        columns.push_back(column);
    }
}

// Sorted by band, so that the rows of a step that share weights are adjacent.
inline void sort_by_band(std::vector<Column>& columns) {
    std::vector<int32_t> order(columns.size()), position(columns.size());
    for (size_t c = 0; c < order.size(); ++c) order[c] = c;
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return columns[a].band < columns[b].band; });
    for (size_t c = 0; c < order.size(); ++c) position[order[c]] = c;
    std::vector<Column> sorted;
    for (int32_t c : order) {
        Column column = columns[c];
        for (int a = 1; a < MAX_AXES; ++a) {
            column.before[a] = column.before[a] < 0 ? -1 : position[column.before[a]];
            column.after[a] = column.after[a] < 0 ? -1 : position[column.after[a]];
        }
        sorted.push_back(column);
    }
    columns.swap(sorted);
}

inline std::vector<Column> columns_of(const Layer& layer, const std::vector<int64_t>& utterances, const uint8_t* backward) {
    std::vector<Column> columns;
    for (int64_t u : utterances) append_columns(layer, u, backward, columns);
    if (layer.bands > 1) sort_by_band(columns);
    for (Column& column : columns)
        if (layer.axes == 1) column.before[0] = column.after[0] = -1;
    return columns;
}

// The rows of one step, one a column that is under way.
struct Step {
    std::vector<int32_t> column;       // of each row
    std::vector<int64_t> cell;         // of each row, as a row of (batch, cells)
    std::vector<int32_t> row;          // of each column, or -1
    std::vector<int32_t> band_starts;  // bands + 1 rows

    void set(int64_t number, const std::vector<Column>& columns, int64_t bands) {
        column.clear();
        cell.clear();
        row.assign(columns.size(), -1);
        band_starts.assign(bands + 1, 0);
        for (size_t c = 0; c < columns.size(); ++c) {
            const int64_t t = number - columns[c].delay;
            if (t < 0 || t >= columns[c].steps) continue;
            row[c] = column.size();
            column.push_back(c);
            cell.push_back(columns[c].first + t * columns[c].stride);
            ++band_starts[columns[c].band + 1];
        }
        for (int64_t b = 0; b < bands; ++b) band_starts[b + 1] += band_starts[b];
    }
};

inline int64_t steps_of(const std::vector<Column>& columns) {
    int64_t steps = 0;
    for (const Column& column : columns) steps = std::max<int64_t>(steps, column.delay + column.steps);
    return steps;
}

}  // namespace grid
