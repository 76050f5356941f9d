# The CUDA kernels as one fatbin, where nvcc is on this machine:
#   ingot_cuda_program(kernels.cu program.cc)   program.cc embeds the fatbin; INGOT_CUDA_FATBIN is its path
# Off unless asked for (`make build` asks): nvcc takes minutes, which only changes of the kernels are worth.
# sm_80 code runs on compute capability 8.x, sm_90a on 9.0, and the driver compiles the PTX for what is newer.

option(INGOT_CUDA "Build the CUDA kernels, where nvcc is found" OFF)
set(INGOT_CUDA_ARCHS "80;90a" CACHE STRING "Compute capabilities to compile for")
set(INGOT_CUDA_PTX "80" CACHE STRING "Compute capability of the PTX")
if(INGOT_CUDA)
  file(GLOB cuda_of_venv ${CMAKE_SOURCE_DIR}/build/venv-cuda/lib/python3*/site-packages/nvidia/cu13/bin)
  find_program(INGOT_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin PATHS /usr/local/cuda/bin ${cuda_of_venv})
endif()
if(INGOT_CUDA AND NOT INGOT_NVCC)
  message(STATUS "CUDA is left out: nvcc was not found (\"make build CUDA=1\" installs it)")
endif()

function(ingot_cuda_program kernels program)
  if(NOT INGOT_CUDA OR NOT INGOT_NVCC)
    return()
  endif()
  get_filename_component(source ${kernels} ABSOLUTE)
  set(objects "")
  set(images "")
  # One command for each architecture, so that they run at once.
  foreach(arch ${INGOT_CUDA_ARCHS})
    set(object ${CMAKE_CURRENT_BINARY_DIR}/kernels_sm_${arch}.cubin)
    ingot_nvcc(${source} ${object} -cubin -arch=sm_${arch})
    list(APPEND objects ${object})
    list(APPEND images --image3=kind=elf,sm=${arch},file=${object})
  endforeach()
  set(ptx ${CMAKE_CURRENT_BINARY_DIR}/kernels_${INGOT_CUDA_PTX}.ptx)
  ingot_nvcc(${source} ${ptx} -ptx -arch=compute_${INGOT_CUDA_PTX})
  list(APPEND images --image3=kind=ptx,sm=${INGOT_CUDA_PTX},file=${ptx})
  get_filename_component(bin ${INGOT_NVCC} DIRECTORY)
  set(fatbin ${CMAKE_CURRENT_BINARY_DIR}/kernels.fatbin)
  add_custom_command(OUTPUT ${fatbin} COMMAND ${bin}/fatbinary -64 --create=${fatbin} --compress-all ${images}
                     DEPENDS ${objects} ${ptx} VERBATIM COMMENT "CUDA kernels")
  set_source_files_properties(${program} PROPERTIES OBJECT_DEPENDS ${fatbin} COMPILE_DEFINITIONS "INGOT_CUDA_FATBIN=\"${fatbin}\"")
endfunction()

# What every compilation of kernels has in common. Products and sums are fused only where the code says so.
function(ingot_nvcc source output)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_SOURCE_DIR}/tools/log_output.sh ${output}.log ${INGOT_NVCC} -ccbin ${CMAKE_CXX_COMPILER} -std=c++20 -O3 -fmad=false
      -Xptxas -v -I${CMAKE_SOURCE_DIR}/src ${ARGN} -MD -MF ${output}.d -o ${output} ${source}
    DEPENDS ${source} DEPFILE ${output}.d VERBATIM COMMENT "nvcc ${ARGN}")
endfunction()
