// Products of a single tile of rows, where reading the weights takes longest. For gemm_tiles.cc only.
#pragma once

#include "kernels/cpu/tile_product.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

// Up to R rows. Weights become tiles some steps before they are multiplied. As in TileProduct, a tile of sums is stored
// when it is needed again, four products later, and closed another two products later.
template <WeightKind kKind, Closing kClosing, int R>
class OneTileProduct {
 public:
  OneTileProduct(Tiles& tiles, const TileGemmParams& p)
      : tiles_(tiles),
        p_(p),
        weights_(*p.layout),
        steps_(p.layout->padded_k / kStepInputs),
        step_share_(p.layout->panel_bytes / steps_),
        x_bytes_(TileWidthOf(p.rows) * 64),
        x_(p.activations.rounded + p.tile_begin * steps_ * x_bytes_),
        sums_(p.activations.sums + p.tile_begin * p.spans * TileWidthOf(p.rows)) {}

  void Multiply() {
    const FlushDenormals flush;
    tiles_.template Zero<0>(), tiles_.template Zero<1>(), tiles_.template Zero<2>(), tiles_.template Zero<3>();
    if constexpr (kClosing != Closing::kAdd) {
      if (p_.layout->group_size == kStepInputs) return MultiplyShortSpans();
    }
    MultiplyLongSpans();
  }

 private:
  static constexpr bool kInPlace = kKind == WeightKind::kBF16;
  static constexpr int64_t kAhead = 8;               // steps between a tile's making and its product
  static constexpr int64_t kRoomTiles = 2 * kAhead;  // more than are on their way

  const std::byte* PanelAt(int64_t panel) const { return p_.packed + panel * p_.layout->panel_bytes; }
  int64_t Rows() const {
    const int64_t left = p_.rows - p_.tile_begin * kTileRows;
    return left < kTileRows ? left : kTileRows;
  }

  // A place in the sequence of all steps of all panels.
  struct Place {
    int64_t panel, step;
  };
  INGOT_INLINE void Advance(Place* place) const {
    if (++place->step == steps_) *place = {place->panel + 1, 0};
  }

  // Steps of panels in the order in which they are expanded, multiplied and closed.
  struct Sequence {
    explicit Sequence(const OneTileProduct& product)
        : items((product.p_.panel_end - product.p_.panel_begin) * product.steps_),
          fetcher(product.p_, product.p_.panel_begin),
          expanded{product.p_.panel_begin, 0},
          closed(expanded) {}
    const int64_t items;
    Fetcher fetcher;
    Place expanded, closed;  // the next ones
    int64_t num_expanded = 0, num_multiplied = 0, num_closed = 0;
    int64_t step = 0;  // that is multiplied next
  };

  // Spans of one step: panel after panel, with y in registers.
  void MultiplyShortSpans() {
    Sequence at(*this);
    for (int64_t i = 0; i < kAhead; ++i) ExpandNext(&at);
    F32x16 y[R];
    for (F32x16& row : y) row = Broadcast(0.0F);
    // What is multiplied past the end is never closed.
    for (; at.num_closed < at.items; at.num_multiplied += 4) {
      MultiplyNext<0>(&at, y);
      MultiplyNext<1>(&at, y);
      MultiplyNext<2>(&at, y);
      MultiplyNext<3>(&at, y);
    }
  }
  template <int kSums>
  INGOT_INLINE void MultiplyNext(Sequence* at, F32x16* y) {
    constexpr int kX = 4 + kSums % 2, kW = 6 + kSums % 2;
    tiles_.template Load<kX>(x_ + at->step * x_bytes_);
    tiles_.template Load<kW>(RoomAt(at->num_multiplied + kSums));
    OpenSpan<kSums>(tiles_, products_);
    tiles_.template MultiplyBf16<kSums, kX, kW>();
    if (++at->step == steps_) at->step = 0;
    ExpandNext(at);
    if (at->num_multiplied + kSums >= 6 && at->num_closed < at->items) CloseNext(at, products_[(kSums + 2) % 4], y);
  }
  INGOT_INLINE void ExpandNext(Sequence* at) {
    if (at->num_expanded == at->items) return;
    const std::byte* const panel = PanelAt(at->expanded.panel);
    at->fetcher.Advance(panel + at->expanded.step * step_share_);
    Expand(weights_, panel + at->expanded.step * Weights<kKind>::kStepBytes, RoomAt(at->num_expanded++));
    Advance(&at->expanded);
  }
  INGOT_INLINE void CloseNext(Sequence* at, const float* products, F32x16* y) {
    const Place place = at->closed;
    const SpanScales scales = SpanScales::OfGroup(*p_.layout, PanelAt(place.panel), place.step);
    Close<kClosing, R>(scales, products, sums_ + place.step * TileWidthOf(p_.rows), y);
    if (place.step + 1 == steps_) FinishPanel(place.panel, y);
    Advance(&at->closed);
    ++at->num_closed;
  }
  INGOT_INLINE std::byte* RoomAt(int64_t item) { return room_ + item % kRoomTiles * kTileBytes; }
  INGOT_INLINE void FinishPanel(int64_t panel, F32x16* y) const {
    alignas(64) float rows[R * 16];
    for (int r = 0; r < R; ++r) {
      Store(rows + r * 16, y[r]);
      y[r] = Broadcast(0.0F);
    }
    Finish(p_, panel, p_.tile_begin * kTileRows, Rows(), rows);
  }

  // Longer spans: four panels at a time, since products that add to one tile wait for each other.
  static constexpr int64_t kPanels = 4;
  void MultiplyLongSpans() {
    for (int64_t panel = p_.panel_begin; panel < p_.panel_end; panel += kPanels) MultiplyPanels(panel);
  }
  // Past the last panel it is multiplied again.
  void MultiplyPanels(int64_t first) {
    const std::byte* panels[kPanels];
    for (int64_t n = 0; n < kPanels; ++n) {
      panels[n] = PanelAt(first + n < p_.panel_end ? first + n : p_.panel_end - 1);
      for (int r = 0; r < R; ++r) Store(y_[n] + r * 16, Broadcast(0.0F));
    }
    ExpandAll(panels, 0);
    const float* sums = sums_;
    int64_t before = -1;  // the first input of the span that is not closed
    for (int64_t k = 0, end = 0; k < p_.layout->padded_k; before = k, k = end) {
      end = SpanEnd(*p_.layout, k);
      MultiplyFour<true>(panels, k / kStepInputs);
      if (before >= 0) ClosePanels(panels, before, sums), sums += TileWidthOf(p_.rows);
      for (int64_t at = k + kStepInputs; at < end; at += kStepInputs) MultiplyFour<false>(panels, at / kStepInputs);
    }
    StoreTiles(tiles_, products_);
    ClosePanels(panels, before, sums);
    for (int64_t n = 0; n < kPanels && first + n < p_.panel_end; ++n) {
      Finish(p_, first + n, p_.tile_begin * kTileRows, Rows(), y_[n]);
    }
  }
  template <bool kOpen>
  INGOT_INLINE void MultiplyFour(const std::byte* const* panels, int64_t step) {
    tiles_.template Load<4>(x_ + step * x_bytes_);
    MultiplyOne<0, kOpen>(panels, step);
    MultiplyOne<1, kOpen>(panels, step);
    MultiplyOne<2, kOpen>(panels, step);
    MultiplyOne<3, kOpen>(panels, step);
    if (step + 1 < steps_) ExpandAll(panels, step + 1);
  }
  template <int kPanel, bool kOpen>
  INGOT_INLINE void MultiplyOne(const std::byte* const* panels, int64_t step) {
    constexpr int kW = 6 + kPanel % 2;
    tiles_.template Load<kW>(kInPlace ? panels[kPanel] + step * kTileBytes : RoomAt(step * kPanels + kPanel));
    if constexpr (kOpen) OpenSpan<kPanel>(tiles_, products_);
    tiles_.template MultiplyBf16<kPanel, 4, kW>();
  }
  INGOT_INLINE void ExpandAll(const std::byte* const* panels, int64_t step) {
    for (int64_t n = 0; n < kPanels; ++n) {
      FetchAhead(panels[n], step * step_share_, step_share_);
      if constexpr (!kInPlace) {
        Expand(weights_, panels[n] + step * Weights<kKind>::kStepBytes, RoomAt(step * kPanels + n));
      }
    }
  }
  // What follows the bytes [at, at + count) of a panel by a distance: of this panel, or of the fourth after it.
  INGOT_INLINE void FetchAhead(const std::byte* panel, int64_t at, int64_t count) const {
    constexpr int64_t kDistance = 2560;
    const std::byte* const end = PanelAt(p_.panel_end);
    for (int64_t line = at / 64; line < (at + count) / 64; ++line) {
      int64_t ahead = line * 64 + kDistance;
      if (ahead >= p_.layout->panel_bytes) ahead += (kPanels - 1) * p_.layout->panel_bytes;
      if (panel + ahead < end) _mm_prefetch(reinterpret_cast<const char*>(panel + ahead), _MM_HINT_T0);
    }
  }
  INGOT_INLINE void ClosePanels(const std::byte* const* panels, int64_t k, const float* sums) {
    for (int64_t n = 0; n < kPanels; ++n) {
      const SpanScales scales(*p_.layout, panels[n], k);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        float* const y = y_[n] + r * 16;
        Store(y, CloseRow<kClosing>(scales, LoadF32x16(products_[n] + r * 16), sums + r, LoadF32x16(y)));
      }
    }
  }

  Tiles& tiles_;
  const TileGemmParams& p_;
  const Weights<kKind> weights_;
  const int64_t steps_, step_share_, x_bytes_;
  const std::byte* const x_;
  const float* const sums_;
  alignas(64) float products_[4][256] = {};  // rows beyond those of a tile stay 0
  alignas(64) float y_[kPanels][R * 16];
  alignas(64) std::byte room_[kRoomTiles * kTileBytes];
};

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
